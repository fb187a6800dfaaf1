from __future__ import annotations

import json
from dataclasses import replace

import pytest

from airflow_mlops.codec import digest_of, encode
from airflow_mlops.evidence import Evidence, digest, document_of
from airflow_mlops.exceptions import ContractError, SpecificationError
from airflow_mlops.governance.checksums import SUMS, check_sums, sums_of
from airflow_mlops.governance.decided import Document
from airflow_mlops.governance.ledger import Audit, verify
from airflow_mlops.governance.ledger_export import named_uris, policies_of, release_of
from airflow_mlops.governance.ledger_files import (
    CLAIM,
    DOCUMENT,
    HEAD,
    Head,
    claim_bytes,
    claim_name,
    document_name,
    read_claim,
    read_stored,
    stored_bytes,
)
from airflow_mlops.governance.ledger_findings import spans
from tests.evidence_chains import chain_of, decision, signed_by, trusting


def _names(files: dict[str, bytes]) -> list[str]:
    return sorted(filter(DOCUMENT.fullmatch, files))


def _said(audit: Audit) -> list[tuple[str, int | None, str]]:
    return [(one.kind, one.number, one.message) for one in audit.findings]


def _head(files: dict[str, bytes], **changes: object) -> None:
    files[HEAD] = stored_bytes(json.loads(files[HEAD]) | changes)


def _rewritten(files: dict[str, bytes], number: int, **changes: object) -> str:
    """Forge a document, with a name that fits what it says now."""
    name = _names(files)[number - 1]
    document = json.loads(files.pop(name)) | changes
    forged = document_name(number, digest_of(document))
    files[forged] = stored_bytes(document)
    return forged


def test_a_chain_that_nobody_touched_says_what_it_is():
    files = chain_of(3, key="k")
    newest = json.loads(files[HEAD])["digest"]
    first = read_stored(files[_names(files)[0]], "first").digest
    assert verify(files, signer=trusting("k"), anchors=[first, "sha256:x"]) == Audit(
        subject="flights",
        documents=3,
        newest=newest,
        keys=("k",),
        anchored=(first,),
        findings=(),
        notes=(),
    )


def test_every_finding_is_told_with_its_document():
    files = chain_of(9)
    one, two, three, four, five, six, *_, nine = _names(files)
    files[one] = files[one].replace(b'"pass"', b'"fail"', 1)
    files[two] = files[two].replace(b"\n  ", b"\n ", 1)
    files[three] = b"{"
    files[four], files[five] = files[five], files[four]
    del files[six]
    del files[nine]
    files["x"] = b""
    kinds = [(one.kind, one.number) for one in verify(files).findings]
    expected = [("changed", 1), ("changed", 2), ("changed", 3), ("moved", 4), ("moved", 5), ("missing", 6)]
    assert kinds == [*expected, ("missing", 9), ("foreign", None)]


@pytest.mark.parametrize(
    ("damage", "kind", "number", "message"),
    [
        (
            lambda files: files.update({_names(files)[1]: files[_names(files)[1]] + b" "}),
            "changed",
            2,
            "it says what was written, in other bytes: spaces, line ends, order of keys or form of numbers",
        ),
        (lambda files: _rewritten(files, 2, verdict="fail"), "link", 3, "the document before it is sha256:"),
        (lambda files: _rewritten(files, 4, verdict="fail"), "head", 4, "the head says sha256:"),
        (lambda files: _head(files, count=3), "head", 3, "document 3 has sha256:"),
        (lambda files: _head(files, count=12), "missing", 5, "documents 5 to 12 are missing: the head counts 12"),
        (lambda files: _head(files, subject="x"), "head", None, "it is about 'x', not 'flights'"),
        (lambda files: _head(files, extra=1), "head", None, "this is not the head of a chain"),
        (lambda files: files.pop(HEAD), "head", None, "chain.head is missing; whether newest documents are missing"),
        (lambda files: files.pop(_names(files)[3]), "missing", 4, "document 4 is missing: the head counts 4 documents"),
        (
            lambda files: files.update({claim_name(2): claim_bytes(document_of(decision(7)), None)}),
            "fork",
            2,
            "the number was claimed for sha256:",
        ),
        (
            lambda files: files.update({claim_name(8): claim_bytes(document_of(decision(7)), None)}),
            "foreign",
            8,
            "a claim to number 8, but the newest document is 4",
        ),
    ],
)
def test_damage_is_named(damage, kind, number, message):
    files = chain_of(4)
    damage(files)
    said = _said(verify(files, subject="flights"))
    assert (kind, number) == said[0][:2]
    assert message in said[0][2]


def test_a_document_under_another_number_is_told_by_what_it_says_of_itself():
    files = chain_of(4)
    names = _names(files)
    files[f"000004{names[2][6:]}"], files[f"000003{names[3][6:]}"] = files.pop(names[2]), files.pop(names[3])
    said = _said(verify(files))
    assert ("moved", 3) in [one[:2] for one in said]
    assert any("it says of itself that it is document 4" in one[2] for one in said)


def test_a_fork_says_which_branch_the_chain_goes_on_from():
    files = chain_of(3)
    second = _names(files)[1]
    forged = json.loads(files[second]) | {"verdict": "fail"}
    other = document_name(2, digest_of(forged))
    files[other] = stored_bytes(forged)
    (finding,) = verify(files).findings
    assert (finding.kind, finding.number) == ("fork", 2)
    assert finding.message.endswith(f"what follows names {second}")


def test_a_document_about_something_else_does_not_belong():
    files = chain_of(2)
    assert {one.kind for one in verify(files, subject="trains").findings} == {"head", "foreign"}


def test_an_interrupted_writer_is_a_note_and_no_finding():
    longer, files = chain_of(4), chain_of(3)
    newest = _names(longer)[-1]
    document = json.loads(longer[newest])
    for added in ({newest: longer[newest]}, {claim_name(4): claim_bytes(document, None)}, {f".{'0' * 32}.tmp": b"{"}):
        audit = verify(files | added)
        assert audit.findings == ()
        assert len(audit.notes) == 1
    signature = {newest.replace(".json", ".sig"): stored_bytes(encode(signed_by("k", digest_of(document))))}
    assert "interrupted before it wrote that" in verify(files | signature).notes[0]
    # One document more is what an interrupted writer leaves; two are not.
    two = {name: content for name, content in chain_of(5).items() if name != HEAD}
    (finding,) = verify(two | {HEAD: files[HEAD]}).findings
    assert (finding.kind, finding.number, finding.last) == ("head", 4, 5)


def test_old_chains_verify_and_say_what_they_cannot_show():
    (note,) = verify(chain_of(3, numbered_from=9)).notes
    assert "whether newest ones are missing cannot be told without an anchor" in note
    mixed = chain_of(4, numbered_from=3)
    assert verify(mixed).findings == verify(mixed).notes == ()
    del mixed[HEAD]
    assert verify(mixed).findings[0].kind == "head"
    interrupted = chain_of(3, numbered_from=3)
    del interrupted[HEAD]
    assert (verify(interrupted).findings, len(verify(interrupted).notes)) == ((), 1)


def test_a_document_without_a_number_does_not_follow_one_with():
    files = chain_of(2)
    last = read_stored(files[_names(files)[-1]], "last").digest
    old = document_of(decision(3, previous=last))
    files[document_name(3, digest_of(old))] = stored_bytes(old)
    assert _said(verify(files))[0][:2] == ("foreign", 3)


def test_signatures_are_demanded_where_they_have_to_be():
    files = chain_of(4, key="k", signed_from=3)
    assert verify(files).notes[-1].startswith("documents 1 to 2: written before signing began")
    assert verify(files, signer=trusting("k")).findings == ()
    gone = {name: content for name, content in files.items() if name != _names(files)[3].replace(".json", ".sig")}
    for signer in (None, trusting("k")):
        assert _said(verify(gone, signer=signer)) == [("signature", 4, "document 4 is not signed")]
    assert _said(verify(chain_of(4), signer=trusting("k"))) == [("signature", 1, "documents 1 to 4 are not signed")]
    assert {one[0] for one in _said(verify(files, signer=trusting("other")))} == {"signature"}
    _head(files, signed_from=4)
    assert "it lets signing begin at document 4" in _said(verify(files))[0][2]


def test_what_cannot_be_read_is_a_finding():
    class Files(dict):
        def __getitem__(self, name):
            raise ContractError(f"{name}: it cannot be read (Permission denied)")

    audit = verify(Files(chain_of(2, remote=True, key="k")), subject="flights", signer=trusting("k"))
    assert {"Permission denied" in one.message for one in audit.findings} == {True}
    assert {one.file for one in audit.findings} >= {HEAD, claim_name(1)}


def test_claims_of_earlier_versions_are_the_document_alone():
    document = document_of(decision(1))
    assert read_claim(json.dumps(document).encode(), "here") == (document, None)
    files = chain_of(2, remote=True)
    for name in filter(CLAIM.fullmatch, list(files)):
        files[name] = json.dumps(json.loads(files[name])["document"]).encode()
    assert verify(files).findings == ()
    with pytest.raises(ContractError, match="this is not a claim"):
        read_claim(stored_bytes({"document": document}), "here")


def test_a_lost_claim_is_a_note():
    files = chain_of(3, remote=True)
    del files[claim_name(2)]
    assert (verify(files).findings, verify(files).notes) == (
        (),
        ("document 2: no claim, though documents before have one",),
    )


def test_a_document_without_a_number_keeps_its_digest():
    old = decision(1)
    assert digest(old) == digest_of({key: value for key, value in encode(old).items() if key != "number"})
    assert "number" not in document_of(old)
    assert document_of(replace(old, number=3))["number"] == 3


def test_names_end_where_numbers_do():
    with pytest.raises(ContractError, match="names hold no greater number"):
        document_name(1_000_000, "sha256:" + "0" * 64)


def test_heads_count_at_least_one():
    files = chain_of(1)
    _head(files, count=0)
    assert _said(verify(files))[0][0] == "head"
    assert Head(subject="x", count=1, digest="d").signed_from is None


def test_spans_gather_rows():
    assert list(spans([1, 2, 3, 5, 8, 9])) == [(1, 3), (5, 5), (8, 9)]
    assert list(spans([])) == []


def test_sums_are_compared_both_ways():
    files = {"a": b"1", "b/c": b"2"}
    listed = sums_of(files)
    assert check_sums(listed, files, ["a", "b/c", SUMS]) == ()
    found = check_sums(listed + b"nonsense\n", {"a": b"x", "d": b""}, ["a", "d", SUMS])
    assert [(one.kind, one.file) for one in found] == [
        ("changed", SUMS),
        ("changed", "a"),
        ("missing", "b/c"),
        ("foreign", "d"),
    ]


def _documents(*evidence: Evidence) -> list[Document]:
    return [Document(number=number, digest=digest(one), evidence=one) for number, one in enumerate(evidence, start=1)]


def test_a_release_is_found_by_its_version():
    model = {"uri": "file:///m", "digest": "sha256:" + "a" * 64, "format": "mlflow", "size_bytes": 1}
    documents = _documents(
        decision(1, references={"candidate": model}),
        decision(2, decision="registration", references={"model": model}, notes={"version": "7"}),
    )
    assert [entry.number for entry in release_of(documents, "7").entries] == [1, 2]
    with pytest.raises(
        SpecificationError, match=r"version: '8' is not accepted; expected a version with decisions .* 7"
    ):
        release_of(documents, "8")


def test_files_are_named_and_models_and_data_are_not():
    model = {"uri": "file:///m", "digest": "sha256:x", "format": "mlflow"}
    references = {
        "candidate": model,
        "evaluation": {"uri": "file:///e", "report_uri": "file:///r"},
        "datasets": [model],
    }
    document = _documents(decision(1, references=references, notes={"card_uri": "file:///c", "note": "file:///n"}))[0]
    assert named_uris(document) == ("file:///e", "file:///r", "file:///c")


def test_policies_are_kept_once_by_their_digest():
    with_policy = decision(1, policy={"b": 1, "a": 2}, policy_digest="sha256:" + "0" * 64)
    files = policies_of(_documents(with_policy, with_policy, decision(2)))
    assert files == {"policies/gate-000000000000.json": b'{\n  "a": 2,\n  "b": 1\n}\n'}
