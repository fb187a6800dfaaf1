"""Whatever people answer, and whatever happens meanwhile, nothing is approved that must not be."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from airflow_mlops.governance.approval import Author, Question, ReleaseAnswer, Standing, step

ASKED, NEWER = "sha256:" + "b" * 64, "sha256:" + "c" * 64
AUTHOR = "ada"
PEOPLE = (AUTHOR, "ADA", "ada@example.com", "grace", "Grace", "edsger", "barbara")
END = 200.0

answers = st.one_of(
    st.none(),
    st.builds(
        ReleaseAnswer,
        approved=st.booleans() | st.just(True),
        by_id=st.sampled_from(PEOPLE),
        by_name=st.sampled_from((*PEOPLE, "")),
        at=st.sampled_from((100.0, 150.0, 199.9, END, 250.0)),
        evidence=st.sampled_from((ASKED, ASKED[7:19], NEWER, "", ASKED[:15])),
    ),
)
#: An answer, and the newest evidence there is when it is read.
events = st.tuples(answers, st.sampled_from((ASKED, ASKED, ASKED, NEWER, None)))


@given(st.integers(1, 3), st.lists(events, max_size=12))
def test_what_is_approved_was_approved_by_the_right_people_in_time_about_this_evidence(quorum, happened):
    question = Question(
        model_name="m",
        model_digest="sha256:" + "a" * 64,
        evidence_digest=ASKED,
        author=Author(names=(AUTHOR,), source="argument"),
        quorum=quorum,
        asked_at=100.0,
        expires_at=END,
    )
    standing, taken = Standing(question=question), []
    for answer, newest in happened:
        if standing.state != "open":
            break
        before = standing
        standing = step(standing, answer, newest=newest)
        taken.append((answer, newest))
        assert len(standing.approvers) - len(before.approvers) in (0, 1)
        if len(standing.approvers) > len(before.approvers):
            assert newest == ASKED
            assert standing.approvers[-1] == answer
    for one in standing.approvers:
        assert one.approved
        assert one.at < END
        assert one.evidence in (ASKED, ASKED[7:19])
        assert AUTHOR not in {name.casefold().partition("@")[0] for name in (one.by_id, one.by_name)}
    people = {one.by_id.casefold() for one in standing.approvers}
    assert len(people) == len(standing.approvers)
    assert (standing.state == "approved") == (len(people) >= quorum)
    if standing.state == "approved":
        assert not any(answer is None or not answer.approved for answer, _ in taken)
