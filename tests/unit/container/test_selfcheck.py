"""An image's own tests, where they find fault; what they find in a good image is seen in tests/system/docker."""

from __future__ import annotations

from importlib.metadata import version

import pytest

from airflow_mlops.container import selfcheck
from airflow_mlops.exceptions import SpecificationError


@pytest.fixture
def check(tmp_path, capsys):
    """Check this environment against a list of requirements; return exit code and lines."""

    def run(text):
        file = tmp_path / "requirements.txt"
        file.write_text(text)
        code = selfcheck.main([str(file)])
        return code, capsys.readouterr().out.splitlines()

    return run


def test_an_environment_that_is_no_image_fails_check_by_check(check):
    yaml = version("PyYAML")
    code, lines = check(f"# a comment\nPyYAML=={yaml}\npytest==0.1  # old\nno-such-thing==1.0\n")
    assert code == 1
    assert [line[: line.index(":")] for line in lines[:-1]] == [
        "FAILED versions",
        "ok     imports",
        *(line[: line.index(":")] for line in lines[2:4]),  # they depend on who runs this
        "FAILED programs",
        "ok     contract",
    ]
    assert f"pytest is {version('pytest')}, pinned is 0.1" in lines[0]
    assert "no-such-thing==1.0 is not installed" in lines[0]
    assert "hypothesis is installed and not pinned" in lines[0]
    assert " pyyaml is" not in lines[0]
    assert "module airflow" in lines[4]
    assert lines[-1].startswith("6 checks, ")


def test_an_empty_list_is_no_success(check):
    _, lines = check("# nothing\n")
    assert lines[0].startswith("FAILED versions: the list of requirements pins nothing; ")
    assert lines[1] == "FAILED imports: none of the requirements brings a module"


def test_an_unknown_list_is_refused():
    with pytest.raises(SpecificationError, match="requirements: 'trainre' is not accepted; expected the path of a fil"):
        selfcheck.main(["trainre"])
