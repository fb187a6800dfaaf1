"""What is in an image, as a CycloneDX bill of materials.

The same image gives the same document, byte for byte: its number follows from the image's digest and its time is the
image's own. So two writers cannot disagree, and whoever doubts a bill can make it again.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import TYPE_CHECKING, Any

from airflow_mlops.codec import decode
from airflow_mlops.exceptions import ContractError

if TYPE_CHECKING:
    from cyclonedx.model.component import Component

__all__ = ["FORMAT", "BilledImage", "Inventory", "bill_of_materials", "check_bill"]

FORMAT = "cyclonedx-1.6-json"


@dataclass(frozen=True, kw_only=True)
class BilledImage:
    """The image that a bill is about.

    :param name: what it is, for people
    :param digest: ``sha256:…``
    :param created: when it was made, ISO 8601
    :param revision: revision of its source, empty if nobody said
    """

    name: str
    digest: str
    created: str
    revision: str = ""


@dataclass(frozen=True, kw_only=True)
class _DebianPackage:
    package: str
    version: str
    architecture: str


@dataclass(frozen=True, kw_only=True)
class _Distribution:
    name: str
    version: str
    license: str
    path: str


@dataclass(frozen=True, kw_only=True)
class _Interpreter:
    version: str
    path: str


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """What :mod:`airflow_mlops.container.inventory` says of an image.

    :param system: the lines of ``/etc/os-release``
    :param python: the interpreter that was asked
    :param debian: installed Debian packages
    :param distributions: Python distributions, each as often as it is there
    """

    system: Mapping[str, str]
    python: _Interpreter
    debian: tuple[_DebianPackage, ...]
    distributions: tuple[_Distribution, ...]


def bill_of_materials(image: BilledImage, said: Any) -> str:
    """Return the document.

    :param said: the JSON value of an :class:`Inventory`
    :raises ContractError: if the image said something else, or the document does not keep to its schema
    """
    from cyclonedx.contrib.this.builders import this_component
    from cyclonedx.model import Property
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.output.json import JsonV1Dot6
    from packageurl import PackageURL

    found = decode(Inventory, said, where="inventory")
    root = Component(
        type=ComponentType.CONTAINER,
        bom_ref="image",
        name=image.name,
        version=image.digest,
        purl=PackageURL("oci", name=image.name.lower().replace(" ", "-"), version=image.digest),
        properties=[Property(name="org.opencontainers.image.revision", value=image.revision)] if image.revision else (),
    )
    tool = this_component()
    # Where its own documentation lies is of no interest here.
    tool.external_references.clear()
    bom = Bom(
        serial_number=uuid.uuid5(uuid.NAMESPACE_URL, f"oci:{image.digest}"),
        components=list(_components(found)),
        metadata=BomMetaData(component=root, timestamp=datetime.fromisoformat(image.created)),
    )
    bom.metadata.tools.components.add(tool)
    bom.register_dependency(root, bom.components)
    text = JsonV1Dot6(bom).output_as_string(indent=2) + "\n"
    check_bill(text, where=f"the bill of {image.name}")
    return text


def check_bill(text: str, *, where: str) -> None:
    """Check a document against the schema of CycloneDX 1.6.

    :param where: what is being read, for messages
    :raises ContractError: if it does not keep to it
    """
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    try:
        problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    except ValueError as error:
        raise ContractError(f"{where} is not JSON: {error}") from error
    if problem is not None:
        raise ContractError(f"{where} is no CycloneDX 1.6 document: {problem}")


def _components(found: Inventory) -> Iterator[Component]:
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    system = found.system.get("ID", "")
    release = found.system.get("VERSION_ID", "")
    if system:
        yield Component(
            type=ComponentType.OPERATING_SYSTEM,
            bom_ref=f"os:{system}",
            name=system,
            version=release or None,
            description=found.system.get("PRETTY_NAME"),
        )
    yield Component(
        type=ComponentType.PLATFORM,
        bom_ref="interpreter",
        name="python",
        version=found.python.version,
        purl=PackageURL("generic", name="python", version=found.python.version),
        evidence=_seen_at([found.python.path]),
    )
    for package in found.debian:
        distro = f"{system}-{release}" if release else system
        purl = PackageURL(
            "deb",
            namespace=system or "debian",
            name=package.package,
            version=package.version,
            qualifiers={"arch": package.architecture, **({"distro": distro} if distro else {})},
        )
        yield Component(name=package.package, version=package.version, bom_ref=purl.to_string(), purl=purl)
    ordered = sorted(found.distributions, key=_identity)
    for (name, version), places in groupby(ordered, key=_identity):
        yield _python(name, version, list(places))


def _identity(one: _Distribution) -> tuple[str, str]:
    return one.name, one.version


def _python(name: str, version: str, places: list[_Distribution]) -> Component:
    from cyclonedx.contrib.license.factories import LicenseFactory
    from cyclonedx.model.component import Component
    from cyclonedx.model.license import LicenseAcknowledgement
    from packageurl import PackageURL

    declared = LicenseAcknowledgement.DECLARED
    purl = PackageURL("pypi", name=name, version=version)
    return Component(
        name=name,
        version=version,
        bom_ref=f"{purl.to_string()}#{name}",
        purl=purl,
        licenses=[
            LicenseFactory().make_from_string(text, license_acknowledgement=declared)
            for text in sorted({one.license for one in places if one.license})[:1]
        ],
        evidence=_seen_at(one.path for one in places),
    )


def _seen_at(paths: Iterable[str]) -> Any:
    from cyclonedx.model.component_evidence import ComponentEvidence, Occurrence

    # Without names of their own, the library puts them into any order.
    return ComponentEvidence(occurrences=[Occurrence(bom_ref=f"at:{path}", location=path) for path in paths])
