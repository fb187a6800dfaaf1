"""The commands ``airflow mlops …`` as Airflow's command line wants them declared; imports nothing heavy."""

from __future__ import annotations

from typing import Any

from airflow.cli.cli_config import ActionCommand, Arg, CLICommand, GroupCommand, lazy_load_command

__all__ = ["get_cli_commands"]


def _arg(flag: str, **options: Any) -> Arg:
    # Airflow's class has no annotations; whether a type checker minds depends on how it was told to follow Airflow.
    make: Any = Arg
    made: Arg = make((flag,), **options)
    return made


_HOME = _arg("--home", help="Folder of the stack (default: the option local_home of section mlops)", metavar="DIR")
_PORTS = (
    _arg("--port-base", type=int, metavar="N", help="Take all ports from the block of 100 that begins with N"),
    _arg("--airflow-port", type=int, metavar="N", help="Airflow's UI and API (default: 8080)"),
    _arg("--mlflow-port", type=int, metavar="N", help="MLflow's UI and API (default: 5000)"),
    _arg("--gateway-port", type=int, metavar="N", help="Where clients ask for predictions (default: 8100)"),
    _arg("--gateway-admin-port", type=int, metavar="N", help="Envoy's statistics (default: 8101)"),
    _arg("--server-port-first", type=int, metavar="N", help="First of the model servers' 100 ports (default: 8200)"),
    _arg("--worker-log-port", type=int, metavar="N", help="Logs of running tasks (default: 8793)"),
    _arg("--trigger-log-port", type=int, metavar="N", help="Logs of running triggers (default: 8794)"),
)
_UP = (
    _HOME,
    *_PORTS,
    _arg("--dags-folder", metavar="DIR", help="Where the DAGs are (default: the folder dags of the home)"),
    _arg("--no-airflow", action="store_true", help="Leave Airflow's components out"),
    _arg("--users-header", metavar="NAME", help="Log which user, by this header, was answered how, for rollouts"),
    _arg("--users-cookie", metavar="NAME", help="The same by a cookie"),
    _arg("--requirements", action="append", default=[], metavar="FILE", help="What the model environment consists of"),
    _arg("--timeout", type=float, default=180.0, metavar="SECONDS", help="How long it may take (default: 180)"),
)
_TRAFFIC_START = (
    _HOME,
    _arg("--requests", required=True, metavar="FILE", help="JSON lines with id, features and label"),
    _arg("--rate", required=True, type=float, metavar="N", help="Requests per second"),
    _arg("--model-name", metavar="NAME", help="Model (default: the file's name up to its first hyphen)"),
    _arg(
        "--label-delay-seconds", type=float, default=1.0, metavar="S", help="From an answer to its label (default: 1)"
    ),
    _arg("--loop", action="store_true", help="Begin again after the last request"),
)


_BACKTEST = (
    _arg("policy", help="The changed policy: a YAML file, or a URI", metavar="POLICY"),
    _arg("--model", metavar="NAME", help="Only decisions about this model (default: all models)"),
    _arg("--json", action="store_true", help="Print JSON instead of text"),
)


_MODEL = _arg("model", help="Folder or URI of the model's files", metavar="MODEL")
_SIGN = (
    _MODEL,
    _arg("--key", required=True, metavar="FILE", help="Private key: Ed25519 or on a NIST curve, PEM"),
    _arg("--passphrase-variable", metavar="NAME", help="Environment variable with the key's passphrase, if it has one"),
    _arg("--digest", metavar="sha256:…", help="Sign only if the files have this digest"),
)
_VERIFY = (
    _MODEL,
    _arg("--key", action="append", required=True, metavar="FILE", help="Public key, PEM; may be given several times"),
    _arg("--digest", metavar="sha256:…", help="What the files must have, besides a signature"),
)

_SIMULATE = (
    _arg("spec", help="The rollout's spec: a YAML file, or a URI", metavar="SPEC"),
    _arg("--requests-per-second", type=float, metavar="N", help="At both models together; required without --past"),
    _arg("--past", metavar="FILE", help="Traffic like this: CSV with columns requests, errors, slow, a row per span"),
    _arg("--past-seconds", type=float, metavar="N", help="Length of such a span (default: the spec's look_seconds)"),
    _arg("--error-rate", type=float, default=0.0, metavar="SHARE", help="Of the stable model's requests (default: 0)"),
    _arg("--slow-share", type=float, default=0.0, metavar="SHARE", help="Of its requests above the edge (default: 0)"),
    _arg(
        "--worse-by",
        nargs="+",
        default=[],
        metavar="INCREASE",
        help="Error rates to ask about: 50%% is half as many again, 0.02 two more in a hundred requests",
    ),
    _arg("--slower-by", nargs="+", default=[], metavar="INCREASE", help="Shares of slow requests to ask about"),
    _arg("--burstiness", type=float, default=0.0, metavar="SHARE", help="Variation of the traffic from look to look"),
    _arg("--error-variation", type=float, default=0.0, metavar="SHARE", help="Variation of both models' rates"),
    _arg("--autocorrelation", type=float, default=0.0, metavar="R", help="What is left of it at the next look"),
    _arg("--runs", type=int, default=2000, metavar="N", help="Simulated rollouts per candidate (default: 2000)"),
    _arg("--seed", type=int, default=0, metavar="N", help="Of the dice (default: 0)"),
    _arg("--output", metavar="FILE", help="Write a page with a picture"),
    _arg("--json", action="store_true", help="Print JSON instead of a table"),
)

_ROOT = _arg(
    "--root",
    metavar="URI",
    help="Artefact root, a copy of one, an export or its zip file (default: the option artifact_root of section mlops)",
)
_AUDIT_VERIFY = (
    _arg("subject", nargs="*", metavar="SUBJECT", help="Models and data sets (default: all that have evidence)"),
    _ROOT,
    _arg("--key", action="append", default=[], metavar="FILE", help="Public key, PEM, by which documents are signed"),
    _arg("--head", action="append", default=[], metavar="sha256:…", help="Digest that a chain has to hold: an anchor"),
    _arg("--mlflow-conn-id", metavar="ID", help="Take the digests in the tags of MLflow's versions for anchors, too"),
    _arg("--json", action="store_true", help="Print JSON instead of text"),
)
_AUDIT_LOG = (
    _arg("subject", metavar="SUBJECT", help="Model or data set"),
    _ROOT,
    _arg("--last", type=int, metavar="N", help="Only the newest N (default: all)"),
    _arg("--json", action="store_true", help="Print JSON instead of a table"),
)
_AUDIT_EXPORT = (
    _arg("subject", metavar="SUBJECT", help="Model"),
    _arg("--version", required=True, metavar="N", help="Registered version"),
    _arg("--output", required=True, metavar="PATH", help="New folder, or new file that ends in .zip"),
    _ROOT,
)

_GATEWAY = _arg(
    "--gateway-conn-id",
    default="model_gateway_default",
    metavar="ID",
    help="Connection of the gateway (default: model_gateway_default)",
)
_ROUTE = _arg("route", metavar="ROUTE", help="The route, which is the model's name")
_STICK = (
    _arg("--header", metavar="NAME", help="Header that holds the caller's key, for example x-user"),
    _arg("--cookie", metavar="NAME", help="Cookie that holds the caller's key; nobody is given one"),
    _arg("--off", action="store_true", help="Let every request go by chance again"),
)
_MATCH = (
    _arg("--target", metavar="NAME", help="Model server that gets these requests"),
    _arg(
        "--header",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="Header that a request must carry; may be given several times, then all of them",
    ),
    _arg("--off", action="store_true", help="Send no request by its headers any more"),
)
_COMMENT = _arg("--comment", default="", metavar="TEXT", help="Why; it becomes part of the evidence")
_PLAN = (
    _arg("spec", help="The rollout's spec: a YAML file, or a URI", metavar="SPEC"),
    _arg("--route", required=True, metavar="ROUTE", help="The route, which is the model's name"),
    _arg("--candidate", required=True, metavar="NAME", help="Model server that shall take over"),
    _GATEWAY,
    _arg("--json", action="store_true", help="Print JSON instead of text"),
)

_DOCTOR = (
    _arg("--only", action="append", default=[], metavar="AREA", help="Only this area; may be given several times"),
    _arg("--conn-id", action="append", default=[], metavar="ID", help="Test this connection too; also several times"),
    _arg("--namespace", metavar="NAME", help="Ask for the rights of trainings in this namespace of a cluster too"),
    _arg("--home", metavar="DIR", help="Examine the embedded stack in this folder, in its own environment"),
    _arg("--timeout", type=float, metavar="SECONDS", help="How long one check may take (default: its own time)"),
    _arg("--quiet", action="store_true", help="Leave out what is fine"),
    _arg("--json", action="store_true", help="Print JSON instead of a table"),
)
_INIT = (
    _arg("name", metavar="NAME", help="Name of the project: its folder, package, DAG and model"),
    _arg("--folder", default=".", metavar="DIR", help="Where the project's folder is made (default: here)"),
)


def _command(name: str, text: str, function: str, args: tuple[Arg, ...], module: str = "local") -> ActionCommand:
    func = lazy_load_command(f"airflow_mlops.cli.{module}.{function}")
    return ActionCommand(name=name, help=text, func=func, args=args)


def get_cli_commands() -> list[CLICommand]:
    """Return what Airflow adds to its command line."""
    traffic = GroupCommand(
        name="traffic",
        help="Replay prepared requests against the gateway",
        subcommands=(
            _command("start", "Start sending, or send something else", "start", _TRAFFIC_START),
            _command("stop", "Stop sending", "stop", (_HOME,)),
        ),
    )
    as_json = _arg("--json", action="store_true", help="Print JSON instead of a table")
    local = GroupCommand(
        name="local",
        help="Airflow, MLflow, Envoy and model servers on this machine",
        subcommands=(
            _command("up", "Start everything and wait until it is healthy", "up", _UP),
            _command("down", "Stop everything", "down", (_HOME,)),
            _command(
                "status", "Say how every service is; status 0 only if all are healthy", "status", (_HOME, as_json)
            ),
            traffic,
        ),
    )
    gate = GroupCommand(
        name="gate",
        help="What decides whether a candidate may go on",
        subcommands=(
            _command(
                "backtest",
                "Replay past decisions under a changed policy and list those that would flip",
                "backtest",
                _BACKTEST,
                module="gate",
            ),
        ),
    )
    model = GroupCommand(
        name="model",
        help="Signatures of models",
        subcommands=(
            _command("sign", "Sign a model's files and keep the signature", "sign", _SIGN, module="model"),
            _command("verify", "Check that a model's files are signed by a key", "verify", _VERIFY, module="model"),
        ),
    )
    rollout = GroupCommand(
        name="rollout",
        help="How a new model takes over the traffic",
        subcommands=(
            _command(
                "simulate",
                "Say how often a spec would be wrong, and how long it would take, before anyone starts it",
                "simulate",
                _SIMULATE,
                module="rollout",
            ),
            _command(
                "plan",
                "Say what a rollout would do if it began now; changes nothing",
                "plan",
                _PLAN,
                module="rollout_control",
            ),
            _command(
                "status",
                "Say where the rollouts of a gateway are",
                "status",
                (_arg("route", nargs="?", metavar="ROUTE", help="Only this route (default: all)"), _GATEWAY, as_json),
                module="rollout_control",
            ),
            _command(
                "approve",
                "Approve the step that waits for it, as the user who runs this",
                "approve",
                (_ROUTE, _COMMENT, _GATEWAY),
                module="rollout_control",
            ),
            _command(
                "abort",
                "Give all traffic back to the stable model, for good",
                "abort",
                (_ROUTE, _COMMENT, _GATEWAY),
                module="rollout_control",
            ),
            _command(
                "match",
                "Send requests with certain headers to one model, whatever the weights are, until a rollout begins",
                "match",
                (_ROUTE, *_MATCH, _GATEWAY),
                module="rollout_control",
            ),
            _command(
                "stick",
                "Keep callers at one model while the weights stay, by a header or a cookie that they send",
                "stick",
                (_ROUTE, *_STICK, _GATEWAY),
                module="rollout_control",
            ),
        ),
    )
    audit = GroupCommand(
        name="audit",
        help="What was decided, and whether the record of it is whole; needs no database",
        subcommands=(
            _command(
                "verify",
                "Check that no document was changed, removed, moved or added; status 1 if one was",
                "verify",
                _AUDIT_VERIFY,
                module="audit",
            ),
            _command("log", "Print the decisions about a model or a data set", "log", _AUDIT_LOG, module="audit"),
            _command(
                "export",
                "Write the evidence of one release, and what verifies it, into a folder or a zip file",
                "export",
                _AUDIT_EXPORT,
                module="audit",
            ),
        ),
    )
    doctor = _command(
        "doctor",
        "Check this installation and say what to do about each finding; status 1 if something will not work",
        "doctor",
        _DOCTOR,
        module="doctor.command",
    )
    init = _command("init", "Write a first project, which runs as it is", "init", _INIT, module="init")
    return [
        GroupCommand(
            name="mlops",
            help="Machine-learning operations",
            subcommands=(audit, doctor, gate, init, local, model, rollout),
        )
    ]
