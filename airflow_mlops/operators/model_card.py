"""The operator that writes a model's card."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import Context

from airflow_mlops.codec import decode, encode
from airflow_mlops.exceptions import ContractError, SpecificationError
from airflow_mlops.hooks.artifacts import ArtifactStore
from airflow_mlops.hooks.documents import dag_folder, load_document
from airflow_mlops.links.pages import EvidenceLink, ModelLink
from airflow_mlops.links.report import ReportLink, publish_report
from airflow_mlops.operators.base import MLOpsOperator
from airflow_mlops.operators.outcome import airflow_errors

if TYPE_CHECKING:
    from airflow_mlops.evidence import Evidence
    from airflow_mlops.governance.card_facts import CardFacts
    from airflow_mlops.references import ModelRef
    from airflow_mlops.verdict import CheckResult

__all__ = ["ModelCardOperator"]


class ModelCardOperator(MLOpsOperator):
    """Write a model's card, and the dossier of its release so far, from the record of decisions.

    The card is Markdown with the front matter that model hubs read, and a page: intended use, data, metrics with their
    intervals, parts of the data, fairness, limits, approvals, environment, bill of materials and evidence. Every
    figure comes from a document whose digest is verified and stands below it. What nobody said is shown as missing.
    The dossier is a page and a JSON document with all decisions about the model's files in order.

    Equal facts give equal files, which lie under ``cards/`` in the artefact store by their digest; their addresses are
    recorded as evidence of the kind ``card``, with the verdict ``warn`` where something is missing. A retry finds what
    the first try wrote.

    Returns ``verdict``, ``missing`` (the sections that lack something), ``card`` and ``dossier`` (each with ``uri``,
    ``digest`` and ``size_bytes`` of ``markdown`` or ``json``, and ``html``), ``card_uri`` (of the Markdown),
    ``evidence_uri``, ``evidence_digest`` and ``report_uri``.

    :param model_name: name of the model; its record of decisions holds the evidence (templated)
    :param model: the model's reference (templated)
    :param version: number of the registered version, None if it has none (templated)
    :param card: what the author says, as :class:`~airflow_mlops.governance.card_facts.CardText` describes: a mapping,
        or path of a YAML file; relative paths begin at the DAG's folder; None says nothing (templated)
    :param evaluation: what ``EvaluateModelOperator`` returned; only needed where no gate has judged it (templated)
    :param validation: what ``ValidateDataOperator`` returned, or a list of it (templated)
    :param image: the image in which the model was trained: an encoded ImageRef, ``name@sha256:…`` or ``sha256:…``
        (templated)
    :param bills: what ``WriteImageBillOperator`` returned, or a list of it; None looks for the image's (templated)
    :param git_revision: the commit of the training's code (templated)
    :param needs: sections that must lack nothing, else the task fails: any of ``intended_use``, ``data``, ``metrics``,
        ``slices``, ``fairness``, ``limits``, ``approvals``, ``environment``, ``bill_of_materials`` and ``evidence``
    """

    template_fields: Sequence[str] = (
        *("model_name", "model", "version", "card", "evaluation", "validation", "image", "bills", "git_revision"),
    )
    operator_extra_links = (ReportLink(), EvidenceLink(), ModelLink())
    ui_color = "#e8f5e9"

    def __init__(
        self,
        *,
        model_name: str,
        model: Mapping[str, Any],
        version: str | None = None,
        card: str | Path | Mapping[str, Any] | None = None,
        evaluation: Mapping[str, Any] | None = None,
        validation: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        image: str | Mapping[str, Any] | None = None,
        bills: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        git_revision: str | None = None,
        needs: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model_name = model_name
        self.model = model
        self.version = version
        self.card = card
        self.evaluation = evaluation
        self.validation = validation
        self.image = image
        self.bills = bills
        self.git_revision = git_revision
        self.needs = needs

    @airflow_errors()
    def execute(self, context: Context) -> dict[str, Any]:
        """Gather the facts, write card and dossier, and put them on record."""
        from airflow_mlops.governance.card import SECTIONS, card_checks, card_sections
        from airflow_mlops.governance.card_pages import render_html, render_markdown
        from airflow_mlops.governance.dossier import dossier, render_dossier
        from airflow_mlops.verdict import Verdict

        unknown = [name for name in self.needs if name not in SECTIONS]
        if unknown:
            raise SpecificationError("needs", unknown, "some of " + ", ".join(map(repr, SECTIONS)))
        store = ArtifactStore.from_config()
        documents = store.read_evidence(self.model_name)
        facts = self._facts(context, store, documents)
        sections = card_sections(facts)
        page, checks = render_html(facts, sections), card_checks(sections)
        written = {
            "card": {
                "markdown": self._write(store, facts.model, render_markdown(facts, sections), "card.md"),
                "html": self._write(store, facts.model, page, "card.html"),
            },
            "dossier": {},
        }
        if facts.documents:
            # Cards are left out: else every card would make another dossier.
            whole = dossier(documents, facts.model.digest)
            whole["decisions"] = [one for one in whole["decisions"] if one["document"]["decision"] != "card"]
            text = json.dumps(whole, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
            written["dossier"] = {
                "json": self._write(store, facts.model, text, "dossier.json"),
                "html": self._write(store, facts.model, render_dossier(whole), "dossier.html"),
            }
        report_uri = publish_report(context, store, "card", page)
        result = self._result(context, store, facts, checks, {**written, "report_uri": report_uri})
        lacking = [one for one in checks if one.verdict is not Verdict.PASS]
        for one in lacking:
            self.log.info("%s: %s", one.name.removeprefix("card."), one.reason)
        needed = [f"{one.name}: {one.reason}" for one in lacking if one.name.removeprefix("card.") in self.needs]
        if needed:
            context["ti"].xcom_push(key="return_value", value=result)
            raise ContractError("the card lacks what it needs: " + "; ".join(needed))
        return result

    def _facts(self, context: Context, store: ArtifactStore, documents: Sequence[Evidence]) -> CardFacts:
        from airflow_mlops.governance.card_facts import CardFacts, read_text
        from airflow_mlops.governance.concerning import concerning
        from airflow_mlops.operators.card_facts import bills_of, environment_of, measured_of, validations_of
        from airflow_mlops.operators.provenance import code_tags
        from airflow_mlops.references import ModelRef

        model = decode(ModelRef, self.model, where="model")
        text = {} if self.card is None else load_document(self.card, field="card", folder=dag_folder(self))
        about = tuple(one for one in concerning(documents, model.digest) if one.decision != "card")
        revision = code_tags(context, self.git_revision or None).get("mlops.git_revision")
        environment = environment_of(store, model, self.image, revision)
        return CardFacts(
            model_name=self.model_name,
            model=model,
            version=str(self.version) if self.version else None,
            text=read_text(text),
            documents=about,
            environment=environment,
            measured=measured_of(store, about, self.evaluation),
            validations=validations_of(store, self.validation),
            bills=bills_of(store, self.bills, environment.image_digest),
        )

    def _write(self, store: ArtifactStore, model: ModelRef, text: str, name: str) -> dict[str, Any]:
        content = text.encode()
        found = hashlib.sha256(content).hexdigest()
        folder = ("cards", self.model_name, model.digest.removeprefix("sha256:")[:12])
        stem, _, kind = name.rpartition(".")
        uri = store.write_bytes(content, *folder, f"{stem}-{found}.{kind}")
        return {"uri": uri, "digest": f"sha256:{found}", "size_bytes": len(content)}

    def _result(
        self,
        context: Context,
        store: ArtifactStore,
        facts: CardFacts,
        checks: Sequence[CheckResult],
        written: dict[str, Any],
    ) -> dict[str, Any]:
        from airflow_mlops.operators.record import record
        from airflow_mlops.verdict import Verdict, combine

        missing = [one.name.removeprefix("card.") for one in checks if one.verdict is not Verdict.PASS]
        uri, found = self._earlier(store, written) or record(
            context,
            store,
            decision="card",
            subject=self.model_name,
            verdict=combine(checks),
            checks=checks,
            references={"model": facts.model},
            policy={"card": encode(facts.text)},
            notes={**written, "missing": missing, "version": facts.version},
        )
        verdict = combine(checks).value
        named = {"card_uri": written["card"]["markdown"]["uri"], "evidence_uri": uri, "evidence_digest": found}
        return {"verdict": verdict, "missing": missing, **written, **named}

    def _earlier(self, store: ArtifactStore, written: Mapping[str, Any]) -> tuple[str, str] | None:
        """Return URI and digest of the evidence of the same card, if it was recorded before."""
        from airflow_mlops.evidence import digest

        for number, one in enumerate(store.read_evidence(self.model_name), start=1):
            if one.decision == "card" and one.notes.get("card") == written["card"]:
                found = digest(one)
                name = f"{number:06d}-{found.removeprefix('sha256:')[:12]}.json"
                return store.uri("evidence", self.model_name, name), found
        return None
