"""A model card tells what is known, from which document, and what is missing; nothing in it is more than text."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
import yaml

from airflow_mlops.codec import encode
from airflow_mlops.evidence import Evidence, Origin, chain, digest
from airflow_mlops.exceptions import ContractError, SpecificationError
from airflow_mlops.governance.card import SECTIONS, card_checks, card_sections
from airflow_mlops.governance.card_facts import (
    Bill,
    CardFacts,
    CardText,
    Environment,
    Figure,
    GroupFigures,
    Measured,
    MetricFigures,
    SliceFigures,
    read_text,
)
from airflow_mlops.governance.card_pages import render_html, render_markdown
from airflow_mlops.governance.dossier import check_dossier, dossier, render_dossier
from airflow_mlops.governance.markdown import code, escaped
from airflow_mlops.references import ModelRef
from airflow_mlops.verdict import CheckResult, Verdict

MODEL = ModelRef(uri="file:///m", digest="sha256:" + "a" * 64, format="mlflow", size_bytes=4096)
TRAIN, HOLDOUT, EVALUATION, IMAGE, BILL = ("sha256:" + letter * 64 for letter in "bcdef")
HOSTILE = (
    "<script>alert(1)</script> | [x](javascript:alert(1)) **b** `c` \n\n# heading\n---\n![i](http://x) &amp; 1. one"
)

DATASETS = {
    "train": [
        {"digest": TRAIN, "rows": 27004, "format": "parquet", "partition": "2013-01", "columns": {"hour": "int64"}}
    ],
    "holdout": {"digest": HOLDOUT, "rows": 24951, "format": "parquet", "partition": "2013-02"},
}
TEXT = CardText(
    intended_use="Tells passengers how likely a delay is.\n\nFor flights from New York.",
    out_of_scope="Safety.",
    limits=("Knows no strikes.",),
    contact="flights@example.com",
    license="apache-2.0",
    tags=("flights",),
    datasets=("example/flights",),
)
MEASURED = Measured(
    digest=EVALUATION,
    task="classification",
    target="late",
    confidence=0.95,
    rows=24951,
    days=28,
    metrics=(
        MetricFigures(
            name="roc_auc",
            candidate=Figure(value=0.71, low=0.70, high=0.72),
            method="bootstrap over days",
            champion=Figure(value=0.69, low=0.68, high=0.70),
            difference=Figure(value=0.02, low=0.01, high=0.03),
        ),
        MetricFigures(name="brier", candidate=Figure(value=0.15), method="mean"),
    ),
    slices=(SliceFigures(name="origin=JFK", rows=9000, figures={"roc_auc": Figure(value=0.7, low=0.6, high=0.8)}),),
    small_slices={"origin=LGA": 12},
    fairness=(
        GroupFigures(
            column="carrier",
            groups={"UA": (5000, {"selection_rate": Figure(value=0.2, low=0.1, high=0.3)})},
            gaps={"selection_rate": Figure(value=0.05, low=0.0, high=0.1)},
        ),
    ),
)
ENVIRONMENT = Environment(
    requirements=("scikit-learn==1.9.1",),
    python="3.11.7",
    inputs=("hour: long",),
    image="registry/trainer",
    image_digest=IMAGE,
    git_revision="1" * 40,
)


def decided(decision: str, verdict: Verdict = Verdict.PASS, *earlier: Evidence, **more) -> Evidence:
    given = {
        "subject": "flights",
        "checks": (),
        "origin": Origin(dag_id="ct", run_id="r1", task_id=decision, try_number=1),
        "decided_at": 1_364_000_000.0,
        "references": {"candidate": encode(MODEL)},
        **more,
    }
    return chain(Evidence(decision=decision, verdict=verdict, **given), earlier)


def decisions() -> tuple[Evidence, ...]:
    warned = CheckResult(name="slices", verdict=Verdict.WARN, reason="origin=LGA is small")
    gate = decided("gate", Verdict.WARN, checks=(warned,))
    references = {"model": encode(MODEL), "datasets": DATASETS}
    registered = decided("registration", Verdict.PASS, gate, references=references)
    approver = {"by_id": "grace", "by_name": "Grace", "at": 1_364_000_100.0, "comment": "seen"}
    notes = {"state": "approved", "reason": "approved by grace, 1 of 1", "approvers": [approver], "quorum": 1}
    return gate, registered, decided("approval", Verdict.WARN, gate, registered, notes=notes)


def facts(**changes) -> CardFacts:
    validations = tuple(
        decided("validation", subject="suite", references={"dataset": {"digest": one}}) for one in (TRAIN, HOLDOUT)
    )
    whole = CardFacts(
        model_name="flights",
        model=MODEL,
        version="3",
        text=TEXT,
        documents=decisions(),
        environment=ENVIRONMENT,
        measured=replace(MEASURED, small_slices={}),
        validations=validations,
        bills=(Bill(uri="file:///bill", digest=BILL, format="cyclonedx-1.6-json", components=312),),
    )
    return replace(whole, **changes)


def markdown(given: CardFacts) -> str:
    return render_markdown(given, card_sections(given))


def parts(text: str) -> tuple[dict, str]:
    """Front matter and body, as a hub takes them apart."""
    found = re.match(r"^(\s*---[\r\n]+)([\S\s]*?)([\r\n]+---(\r\n|\r|\n|$))", text)
    return yaml.safe_load(found[2]), text[found.end() :]


NOTHING = CardFacts(
    model_name="flights", model=MODEL, version=None, text=CardText(), documents=(), environment=Environment()
)


class TestFrontMatter:
    def test_hubs_read_licence_tags_data_and_results(self):
        matter, _ = parts(markdown(facts()))
        assert (matter["license"], matter["datasets"]) == ("apache-2.0", ["example/flights"])
        assert matter["tags"] == ["flights", "tabular-classification", "airflow-mlops"]
        assert (matter["pipeline_tag"], matter["metrics"]) == ("tabular-classification", ["roc_auc", "brier_score"])
        ((result,),) = [one["results"] for one in matter["model-index"]]
        assert matter["model-index"][0]["name"] == "flights"
        assert result["task"] == {"type": "tabular-classification", "name": "classification"}
        assert result["dataset"]["revision"] == HOLDOUT
        assert result["dataset"]["args"] == {"rows": 24951, "partition": "2013-02"}
        assert result["metrics"][0] == {
            "type": "roc_auc",
            "name": "roc_auc",
            "value": 0.71,
            "args": {
                "low": 0.70,
                "high": 0.72,
                "confidence": 0.95,
                "method": "bootstrap over days",
                "evaluation": EVALUATION,
            },
        }

    def test_without_facts_there_are_no_results_and_the_licence_is_unknown(self):
        matter, _ = parts(markdown(NOTHING))
        assert matter == {"license": "unknown", "tags": ["airflow-mlops"]}

    @pytest.mark.parametrize("text", [HOSTILE, "---", "a\n---\nlicense: mit\n", "key: value", "- x", "\ud83d\ude00"])
    def test_no_text_breaks_out_of_it(self, text):
        text = text.encode("utf-16", "surrogatepass").decode("utf-16")
        given = replace(TEXT, license="other", license_name=text, tags=(text,))
        matter, body = parts(markdown(facts(text=given, model_name=text)))
        assert (matter["license"], matter["license_name"], matter["tags"][0]) == ("other", text, text)
        assert matter["model-index"][0]["name"] == text
        assert body.lstrip().startswith("# ")


class TestSections:
    def test_a_whole_card_lacks_nothing(self):
        sections = card_sections(facts())
        assert [one.key for one in sections] == list(SECTIONS)
        assert [one.missing for one in sections] == [()] * len(SECTIONS)
        assert {one.verdict for one in card_checks(sections)} == {Verdict.PASS}

    def test_what_is_missing_is_shown_in_its_place(self):
        sections = card_sections(NOTHING)
        assert [one.key for one in sections] == list(SECTIONS)
        assert all(one.missing for one in sections)
        assert {one.verdict for one in card_checks(sections)} == {Verdict.WARN}
        text, page = markdown(NOTHING), render_html(NOTHING, sections)
        for title in SECTIONS.values():
            assert f"## {title}\n\n- **Missing:** " in text
            assert f'>{title}</h2>\n<p class="missing"><b>Missing:</b> ' in page
        assert "0 of 10" in page

    @pytest.mark.parametrize(
        ("changes", "section", "missing"),
        [
            ({"text": replace(TEXT, contact=None)}, "intended_use", "nobody says whom to ask (contact)"),
            ({"text": replace(TEXT, limits=())}, "limits", "nobody states the model's limits (limits)"),
            ({"validations": ()}, "data", "no validation of the data train 2013-01"),
            ({"measured": MEASURED}, "slices", "origin=LGA: 12 rows are too few to measure"),
            ({"environment": replace(ENVIRONMENT, python=None)}, "environment", "nobody says the version of Python"),
            ({"bills": ()}, "bill_of_materials", "no bill of materials of its image is known"),
            ({"documents": decisions()[:2]}, "approvals", "no person has approved the model"),
            ({"documents": decisions()[1:]}, "limits", "no gate has judged the model"),
            (
                {"measured": replace(MEASURED, unmeasured={"log_loss": "one class only"})},
                "metrics",
                "log_loss was not measured: one class only",
            ),
        ],
    )
    def test_a_section_tells_what_it_lacks(self, changes, section, missing):
        given = facts(**changes)
        found = {one.key: one for one in card_sections(given)}
        assert missing in found[section].missing
        assert escaped(missing) in markdown(given)

    def test_every_figure_names_its_document(self):
        gate, registered, approval = decisions()
        found = {one.key: one.sources for one in card_sections(facts())}
        assert found["metrics"] == found["slices"] == found["fairness"] == (EVALUATION,)
        assert digest(registered) in found["data"]
        assert found["limits"] == (digest(gate),)
        assert found["approvals"] == (digest(approval),)
        assert found["environment"] == (MODEL.digest,)
        assert found["bill_of_materials"] == (BILL,)
        text = markdown(facts())
        assert f"From `{EVALUATION}`." in text

    def test_figures_come_with_their_intervals(self):
        text = markdown(facts())
        row = r"| roc\_auc | 0.7100 (0.7000 to 0.7200) | 0.6900 (0.6800 to 0.7000) | +0.0200 (+0.0100 to +0.0300) | "
        assert row in text
        assert "| train | 2013-01 | 27,004 | parquet | suite: pass | `" + TRAIN in text
        assert "- warn: origin=LGA is small" in text
        assert "| warn | Grace | 2013-03-23 00:55 UTC | seen |" in text

    def test_equal_facts_give_an_equal_card(self):
        assert markdown(facts()) == markdown(facts())


class TestHostileText:
    def everywhere(self) -> CardFacts:
        text = CardText(intended_use=HOSTILE, out_of_scope=HOSTILE, limits=(HOSTILE,), contact=HOSTILE)
        gate, registered, _ = decisions()
        bad = replace(gate, checks=(CheckResult(name="x", verdict=Verdict.WARN, reason=HOSTILE),))
        measured = replace(
            MEASURED,
            slices=(SliceFigures(name=HOSTILE, rows=1, figures={HOSTILE: Figure(value=1.0)}),),
            unmeasured={HOSTILE: HOSTILE},
        )
        environment = Environment(requirements=(HOSTILE,), image=HOSTILE, image_digest=IMAGE)
        return facts(
            model_name=HOSTILE, text=text, documents=(bad, registered), measured=measured, environment=environment
        )

    def test_html_has_no_element_of_it(self):
        given = self.everywhere()
        page = render_html(given, card_sections(given))

        class Elements(HTMLParser):
            seen: set[str] = set()  # noqa: RUF012 - of one test

            def handle_starttag(self, tag, attrs):
                self.seen.add(tag)
                assert not [name for name, _ in attrs if name.startswith("on") or name == "src"]

        Elements().feed(page)
        assert "script" not in Elements.seen
        assert "img" not in Elements.seen
        assert "&lt;script&gt;" in page

    def test_markdown_has_no_element_heading_link_or_cell_of_it(self):
        _, body = parts(markdown(self.everywhere()))
        assert "<" not in body
        assert not re.search(r"(?<!\\)\]\(", body)
        headings = [line for line in body.splitlines() if line.startswith("#")]
        assert headings[1:] == [f"## {title}" for title in SECTIONS.values()]
        width = None
        for line in body.splitlines():
            cells = len(re.findall(r"(?<!\\)\|", line))
            if line.startswith("|"):
                width = cells if width is None else width
                assert cells == width
            else:
                assert cells == 0
                width = None

    @pytest.mark.parametrize(
        "text", ["- item", "1. one", "+ x", "> quote", "# h", "a\nb", "x | y", "`", "~~~", "===", ""]
    )
    def test_single_texts(self, text):
        for made in (escaped(text), code(text)):
            assert "\n" not in made
            assert not re.match(r"^(- |\d+\. |\+ |> |# )", made)
            assert not re.search(r"(?<!\\)\|", made)


class TestAuthorsText:
    def test_unknown_keys_name_the_nearest(self):
        with pytest.raises(SpecificationError, match=r"card.intended_uses: .* did you mean 'intended_use'"):
            read_text({"intended_uses": "x"})
        with pytest.raises(SpecificationError, match=r"card.limits: 'x' is not accepted; expected a list"):
            read_text({"limits": "x"})

    def test_a_licence_is_one_that_hubs_know_how_to_write(self):
        with pytest.raises(SpecificationError, match=r"card.license: 'Apache 2.0' is not accepted"):
            read_text({"license": "Apache 2.0"})
        with pytest.raises(SpecificationError, match="'other' with license_name"):
            read_text({"license": "mit", "license_name": "ours"})
        assert read_text({"license": "other", "license_name": "ours"}).license_name == "ours"


class TestDossier:
    def chain(self) -> tuple[Evidence, ...]:
        gate, registered, approval = decisions()
        other = decided("gate", references={"candidate": {"digest": TRAIN}})
        documents: list[Evidence] = []
        for one in (gate, other, registered, approval):
            documents.append(chain(one, documents))
        return tuple(documents)

    def test_it_holds_the_decisions_of_one_model_in_order(self):
        documents = self.chain()
        made = dossier(documents, MODEL.digest)
        assert [one["number"] for one in made["decisions"]] == [1, 3, 4]
        assert check_dossier(made) == (documents[0], documents[2], documents[3])
        assert made["head"] == {"number": 4, "digest": digest(documents[-1])}
        page = render_dossier(made)
        assert [page.index(digest(one)) for one in check_dossier(made)] == sorted(
            page.index(digest(one)) for one in check_dossier(made)
        )
        assert "approved by grace, 1 of 1" in page
        with pytest.raises(ContractError, match="no decision is about the model"):
            dossier(documents, IMAGE)

    def test_a_change_in_it_is_found(self):
        made = dossier(self.chain(), MODEL.digest)
        forged = encode(made)
        forged["decisions"][0]["document"]["verdict"] = "pass"
        with pytest.raises(ContractError, match="decision 1 does not have the digest"):
            check_dossier(forged)
        with pytest.raises(ContractError, match="the order was changed"):
            check_dossier({**made, "decisions": made["decisions"][::-1]})
        moved = [made["decisions"][0], {**made["decisions"][1], "number": 2}]
        with pytest.raises(ContractError, match="decision 2 does not follow decision 1"):
            check_dossier({**made, "decisions": moved})
        with pytest.raises(ContractError, match="no dossier of version 1"):
            check_dossier({**made, "extra": 1})

    def test_text_in_it_is_only_text(self):
        gate = replace(decisions()[0], checks=(CheckResult(name=HOSTILE, verdict=Verdict.FAIL, reason=HOSTILE),))
        page = render_dossier(dossier((gate,), MODEL.digest))
        assert "<script>" not in page
        assert "&lt;script&gt;" in page
