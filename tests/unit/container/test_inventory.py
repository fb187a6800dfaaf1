"""What software a file system holds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_mlops.container import inventory as module
from airflow_mlops.container.inventory import inventory


@pytest.fixture
def root(tmp_path):
    def write(name, text):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    write("etc/os-release", 'ID=debian\nVERSION_ID="12"\n# a comment\n')
    write(
        "var/lib/dpkg/status",
        "Package: adduser\nStatus: install ok installed\nArchitecture: all\nVersion: 3.134\nConffiles:\n /etc/x 1\n\n"
        "Package: gone\nStatus: deinstall ok config-files\nArchitecture: all\nVersion: 1\n",
    )
    write("opt/env/one.dist-info/METADATA", "Metadata-Version: 2.4\nName: one\nVersion: 1.0\nLicense-Expression: MIT\n")
    write("srv/other/one.dist-info/METADATA", "Metadata-Version: 2.1\nName: one\nVersion: 0.9\nLicense: UNKNOWN\n")
    write(
        "usr/lib/two.egg-info/PKG-INFO",
        "Metadata-Version: 2.1\nName: two\nVersion: 2\nLicense: All rights\n        of this and that\n"
        "Classifier: License :: OSI Approved\nClassifier: License :: OSI Approved :: BSD License\n",
    )
    write("usr/lib/three.egg-info", "Metadata-Version: 1.0\nName: three\nVersion: 3\n")
    write("usr/lib/remains.dist-info/RECORD", "")
    write("tmp/not.dist-info/METADATA", "Metadata-Version: 2.1\nName: not\nVersion: 1\n")
    return tmp_path


def test_everything_is_found_wherever_it_lies(root):
    found = inventory(root)
    assert found["system"] == {"ID": "debian", "VERSION_ID": "12"}
    assert found["debian"] == [{"package": "adduser", "version": "3.134", "architecture": "all"}]
    assert [(one["name"], one["version"], one["license"], one["path"]) for one in found["distributions"]] == [
        ("one", "0.9", "", "/srv/other/one.dist-info"),
        ("one", "1.0", "MIT", "/opt/env/one.dist-info"),
        ("three", "3", "", "/usr/lib/three.egg-info"),
        ("two", "2", "BSD License", "/usr/lib/two.egg-info"),
    ]


def test_a_system_that_is_not_debians_has_no_debian_packages(tmp_path):
    found = inventory(tmp_path)
    assert (found["system"], found["debian"], found["distributions"]) == ({}, [], [])


def test_its_text_runs_where_this_project_is_unknown(tmp_path):
    text = Path(module.__file__).read_text().replace('Path("/")', f"Path({str(tmp_path)!r})")
    done = subprocess.run([sys.executable, "-I", "-S", "-c", text], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["python"]["version"] == sys.version.split()[0]
