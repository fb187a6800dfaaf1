"""Links whose address is known as soon as a task begins, or as soon as it has what it works on."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from airflow.sdk import Context

from airflow_mlops.links.base import PushedLink, begin_links, push_link, web_prefix

__all__ = [
    "EvidenceLink",
    "ImageLink",
    "ModelLink",
    "PodLink",
    "RunLink",
    "show",
    "show_evidence",
    "show_image",
    "show_pod",
]


class EvidenceLink(PushedLink):
    """Opens the decision that the task recorded, in its subject's timeline."""

    name = "Evidence"


class ModelLink(PushedLink):
    """Opens the model's page."""

    name = "Model"


class RunLink(PushedLink):
    """Opens the release that the DAG run makes, with its verdicts."""

    name = "Release"


class PodLink(PushedLink):
    """Opens the pod where the option ``[mlops] pod_url`` says that pods are shown."""

    name = "Pod"


class ImageLink(PushedLink):
    """Opens the image where the option ``[mlops] image_url`` says that images are shown."""

    name = "Image"


def show(context: Context, operator: Any) -> None:
    """Push those links of an operator that need no more than its rendered fields.

    :param operator: the running operator
    """
    begin_links(context)
    declared = {type(link) for link in operator.operator_extra_links}
    if ModelLink in declared and (name := getattr(operator, "model_name", None)):
        push_link(context, ModelLink(), f"{web_prefix()}/mlops/models/{quote(str(name), safe='')}")
    if RunLink in declared:
        ti = context["ti"]
        parts = "/".join(quote(part, safe="") for part in (ti.dag_id, ti.run_id))
        push_link(context, RunLink(), f"{web_prefix()}/mlops/runs/{parts}")
    if ImageLink in declared and isinstance(name := getattr(operator, "image", None), str):
        show_image(context, name)
    if PodLink in declared and isinstance(pod := getattr(operator, "pod", None), dict):
        show_pod(context, str(pod.get("namespace")), str(pod.get("name")))


def show_evidence(context: Context, subject: str, uri: str) -> None:
    """Push the link to a decision, if the task has one.

    :param subject: name of the model or dataset that it is about
    :param uri: of its document, whose name begins with its number
    """
    if not _declares(context, EvidenceLink):
        return
    number = uri.rsplit("/", 1)[-1][:6]
    push_link(context, EvidenceLink(), f"{web_prefix()}/mlops/models/{quote(subject, safe='')}#decision-{int(number)}")


def show_pod(context: Context, namespace: str, name: str) -> None:
    """Push the link to a pod, if the task has one and an option says where pods are shown."""
    _by_option(context, PodLink(), "pod_url", {"namespace": namespace, "name": name})


def show_image(context: Context, image: str) -> None:
    """Push the link to an image, if the task has one and an option says where images are shown.

    :param image: repository with a tag or a digest
    """
    repository, _, digest = image.partition("@")
    head, slash, last = repository.rpartition("/")
    name, _, tag = last.partition(":")
    values = {"repository": f"{head}{slash}{name}", "tag": tag or "latest", "digest": digest}
    _by_option(context, ImageLink(), "image_url", values)


def _by_option(context: Context, link: PushedLink, name: str, values: dict[str, str]) -> None:
    from airflow_mlops.hooks.settings import option

    template = option(name) if _declares(context, type(link)) else None
    if template is None:
        return
    for key, value in values.items():
        template = template.replace("{" + key + "}", quote(value, safe="/:"))
    push_link(context, link, template)


def _declares(context: Context, link: type[PushedLink]) -> bool:
    task: Any = context.get("task")
    return any(isinstance(one, link) for one in getattr(task, "operator_extra_links", ()))
