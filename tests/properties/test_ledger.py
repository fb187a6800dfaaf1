"""Whatever is done to the files of a chain, an audit says so."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from airflow_mlops.governance.ledger import verify
from airflow_mlops.governance.ledger_files import CLAIM, DOCUMENT, LOCK
from tests.evidence_chains import chain_of, trusting

COUNT = 4
CHAINS = {
    "local": chain_of(COUNT),
    "local, signed": chain_of(COUNT, key="k"),
    "remote": chain_of(COUNT, remote=True),
    "remote, signed": chain_of(COUNT, remote=True, key="k"),
    "begun before heads": chain_of(COUNT, numbered_from=3),
}
few = settings(max_examples=60)
kinds = st.sampled_from(sorted(CHAINS))
plausible = st.builds(
    "{:06d}-{:012x}.{}".format,
    st.integers(0, COUNT + 3),
    st.integers(0, 16**12 - 1),
    st.sampled_from(["json", "sig"]),
)


def _wrong(files: dict[str, bytes], kind: str) -> bool:
    signer = trusting("k") if kind.endswith("signed") else None
    return bool(verify(files, subject="flights", signer=signer).findings)


@pytest.mark.parametrize("kind", sorted(CHAINS))
def test_what_nobody_touched_is_intact(kind):
    assert not _wrong(CHAINS[kind], kind)


@few
@given(data=st.data(), kind=kinds)
def test_any_changed_byte_is_found(data, kind):
    files = dict(CHAINS[kind])
    name = data.draw(st.sampled_from(sorted(set(files) - {LOCK})))
    content = bytearray(files[name])
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= data.draw(st.integers(1, 255))
    files[name] = bytes(content)
    assert _wrong(files, kind)


@few
@given(data=st.data(), kind=kinds)
def test_any_missing_part_of_a_file_is_found(data, kind):
    files = dict(CHAINS[kind])
    name = data.draw(st.sampled_from(sorted(set(files) - {LOCK})))
    begin = data.draw(st.integers(0, len(files[name]) - 1))
    end = data.draw(st.integers(begin + 1, len(files[name])))
    files[name] = files[name][:begin] + files[name][end:]
    assert _wrong(files, kind)


@few
@given(data=st.data(), kind=kinds)
def test_any_missing_file_is_found(data, kind):
    files = dict(CHAINS[kind])
    # A claim only says who came first; it is no evidence, and its loss is a note.
    del files[data.draw(st.sampled_from(sorted(name for name in files if name != LOCK and not CLAIM.fullmatch(name))))]
    assert _wrong(files, kind)


@few
@given(data=st.data(), kind=kinds)
def test_missing_newest_documents_are_found_with_all_that_lies_beside_them(data, kind):
    kept = data.draw(st.integers(0, COUNT - 1))
    files = {
        name: content for name, content in CHAINS[kind].items() if not (name[:6].isdigit() and int(name[:6]) > kept)
    }
    assert _wrong(files, kind)


@few
@given(data=st.data(), kind=kinds)
def test_any_two_files_that_change_places_are_found(data, kind):
    files = dict(CHAINS[kind])
    one, other = data.draw(st.lists(st.sampled_from(sorted(set(files) - {LOCK})), min_size=2, max_size=2, unique=True))
    files[one], files[other] = files[other], files[one]
    assert _wrong(files, kind)


@few
@given(data=st.data(), kind=kinds)
def test_any_new_order_of_the_documents_is_found(data, kind):
    """Documents under the numbers of others, with names that fit what they hold."""
    names = sorted(filter(DOCUMENT.fullmatch, CHAINS[kind]))
    order = data.draw(st.permutations(names))
    assume(order != names)
    files = {name: content for name, content in CHAINS[kind].items() if name not in names}
    files |= {names[place][:6] + name[6:]: CHAINS[kind][name] for place, name in enumerate(order)}
    assert _wrong(files, kind)


@few
@given(data=st.data(), kind=kinds, name=st.text(min_size=1, max_size=20))
def test_any_file_that_does_not_belong_is_found(data, kind, name):
    files = dict(CHAINS[kind])
    made = data.draw(st.one_of(st.just(name), plausible))
    content = data.draw(st.one_of(st.binary(max_size=50), st.sampled_from(sorted(files.values()))))
    # A signature that came before its document is what an interrupted writer leaves.
    assume(made not in files and made != LOCK and not (made.startswith(f"{COUNT + 1:06d}") and made.endswith(".sig")))
    files[made] = content
    assert _wrong(files, kind)


@given(st.data())
def test_a_chain_that_was_written_anew_is_found_by_its_signatures_or_by_an_anchor(data):
    count = data.draw(st.integers(1, COUNT))
    forged = chain_of(count, key="somebody else")
    assert not verify(forged, subject="flights").findings
    assert verify(forged, subject="flights", signer=trusting("k")).findings
    anchor = verify(chain_of(COUNT + 1), subject="flights").newest
    assert anchor is not None
    assert verify(forged, subject="flights", anchors=[anchor]).anchored == ()


@few
@given(
    st.binary(max_size=300),
    st.sampled_from(["000001-0123456789ab.json", "chain.head", "000001.claim", "000001-0123456789ab.sig"]),
)
def test_no_content_breaks_an_audit(content, name):
    verify({name: content}, signer=trusting("k"))
    assert verify(CHAINS["local"] | {name: content}).findings
