"""What a page owes to people who cannot see it well, or not at all, as a list of what it lacks.

Names, roles and headings are read from Chromium's own accessibility tree, which screen readers are given; contrast is
computed from the colours that the browser computed, by the formula of WCAG 2.2 (1.4.3). Not a replacement for a person
who tries: it finds what is plainly missing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

__all__ = ["problems", "unreachable", "width_overflow"]

_INTERACTIVE = {
    "button", "checkbox", "combobox", "link", "listbox", "menuitem", "radio", "searchbox", "slider", "spinbutton",
    "switch", "tab", "textbox", "DisclosureTriangle",
}  # fmt: skip
_PICTURES = {"image", "img", "graphics-document", "Iframe", "figure"}
_LEAST_CONTRAST = 4.5

_STRUCTURE = """() => {
  const found = [];
  if (!document.documentElement.lang) found.push("the page does not say its language");
  if (!document.title.trim()) found.push("the page has no title");
  const ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
  for (const id of new Set(ids.filter((id, at) => ids.indexOf(id) !== at))) found.push(`the id ${id} stands twice`);
  for (const one of document.querySelectorAll("a[href^='#']")) {
    const target = decodeURIComponent(one.hash.slice(1));
    if (target && !document.getElementById(target)) found.push(`a link leads to #${target}, which is not there`);
  }
  for (const one of document.querySelectorAll("[aria-labelledby]")) {
    for (const id of one.getAttribute("aria-labelledby").split(/\\s+/)) {
      if (!document.getElementById(id)) found.push(`a label, #${id}, is not there`);
    }
  }
  for (const table of document.querySelectorAll("table")) {
    const heads = [...table.querySelectorAll("th")];
    if (!heads.length) found.push("a table has no headers");
    if (heads.some((head) => !head.hasAttribute("scope"))) found.push("a header of a table has no scope");
  }
  for (const svg of document.querySelectorAll("svg")) {
    if (svg.closest("[aria-hidden=true]") || svg.parentElement.closest("svg")) continue;
    if (!svg.querySelector("title")) found.push("a picture has no title");
    if (!svg.querySelector("desc")) found.push("a picture does not tell its numbers");
  }
  return found;
}"""

_CONTRAST = """(least) => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const pixel = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, below) => top.slice(0, 3).map((part, at) => part * top[3] + below[at] * (1 - top[3]));
  const light = (colour) => {
    const linear = (part) => (part / 255 <= 0.04045 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4);
    const [r, g, b] = colour.map(linear);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    const layers = [];
    for (let one = element; one; one = one.parentElement) layers.push(pixel(getComputedStyle(one).backgroundColor));
    return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255]);
  };
  const found = new Set();
  const words = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let seen = 0;
  while (words.nextNode()) {
    const element = words.currentNode.parentElement;
    const style = getComputedStyle(element);
    const text = words.currentNode.textContent.trim();
    if (!text || style.visibility !== "visible" || !element.checkVisibility()) continue;
    if (element.closest("title, desc, .hidden, script, style, option")) continue;
    seen += 1;
    const ink = pixel(element.closest("svg") ? style.fill : style.color);
    const paper = behind(element);
    const [high, low] = [light(over(ink, paper)), light(paper)].sort((one, other) => other - one);
    const ratio = (high + 0.05) / (low + 0.05);
    if (ratio < least) found.add(`contrast ${ratio.toFixed(2)} of "${text.slice(0, 40)}"`);
  }
  if (!seen) found.add("the page has no text");
  return [...found];
}"""

_TABBABLE = """() => [...document.querySelectorAll(
  "a[href], button, select, input, textarea, summary, iframe, [tabindex='0']")]
  .filter((one) => one.checkVisibility() && !one.disabled)
  .map((one, at) => { one.dataset.at = at; return one.outerHTML.slice(0, 80); })"""

_FOCUS = """() => {
  const one = document.activeElement;
  const style = getComputedStyle(one);
  const seen = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
  return [one.dataset.at ?? null, one.tagName === "IFRAME" || seen];
}"""


def problems(page: Any) -> list[str]:
    """Return what the page lacks, empty for nothing."""
    session = page.context.new_cdp_session(page)
    nodes = [
        node for node in _in_order(session.send("Accessibility.getFullAXTree")["nodes"]) if not node.get("ignored")
    ]
    session.detach()
    return [
        *page.evaluate(_STRUCTURE),
        *_unnamed(nodes),
        *_headings(nodes),
        *_landmarks(nodes),
        *_tables(nodes),
        *page.evaluate(_CONTRAST, _LEAST_CONTRAST),
    ]


def unreachable(page: Any) -> list[str]:
    """Walk through the page with the tabulator key; return what it does not reach, or reaches without showing it."""
    wanted = page.evaluate(_TABBABLE)
    page.evaluate("() => { document.activeElement.blur(); window.focus(); }")
    reached, dark = set(), []
    for _ in range(len(wanted) + 2):
        page.keyboard.press("Tab")
        at, shown = page.evaluate(_FOCUS)
        if at is None:
            continue
        reached.add(int(at))
        if not shown:
            dark.append(f"focus does not show on {wanted[int(at)]}")
    return [f"not reached by keyboard: {wanted[at]}" for at in range(len(wanted)) if at not in reached] + dark


def width_overflow(page: Any) -> int:
    """Return by how many pixels the page is wider than its window."""
    return int(page.evaluate("() => document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def _in_order(nodes: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Go through the tree as it is read out; Chromium lists it level by level."""
    by_id, ahead = {node["nodeId"]: node for node in nodes}, [nodes[0]["nodeId"]]
    while ahead:
        node = by_id.get(ahead.pop())
        if node is not None:
            yield node
            ahead += reversed(node.get("childIds", ()))


def _role(node: dict[str, Any]) -> str:
    return str(node.get("role", {}).get("value", ""))


def _name(node: dict[str, Any]) -> str:
    return str(node.get("name", {}).get("value", "")).strip()


def _unnamed(nodes: list[dict[str, Any]]) -> Iterator[str]:
    for node in nodes:
        if _role(node) in _INTERACTIVE | _PICTURES and not _name(node):
            yield f"a {_role(node)} has no name"


def _headings(nodes: list[dict[str, Any]]) -> Iterator[str]:
    levels = [
        next(int(one["value"]["value"]) for one in node.get("properties", ()) if one["name"] == "level")
        for node in nodes if _role(node) == "heading"
    ]  # fmt: skip
    if levels.count(1) != 1:
        yield f"{levels.count(1)} headings of level 1"
    for before, level in zip([0, *levels], levels, strict=False):
        if level > before + 1:
            yield f"a heading of level {level} follows one of level {before}"


def _landmarks(nodes: list[dict[str, Any]]) -> Iterator[str]:
    count = Counter(_role(node) for node in nodes)
    if count["main"] != 1:
        yield f"{count['main']} main landmarks"
    navigations = [_name(node) for node in nodes if _role(node) == "navigation"]
    if len(set(navigations)) < len(navigations) or "" in navigations:
        yield f"landmarks for navigation without a name of their own: {navigations}"


def _tables(nodes: list[dict[str, Any]]) -> Iterator[str]:
    count = Counter(_role(node) for node in nodes)
    if count["table"] and not count["columnheader"] + count["rowheader"]:
        yield "tables whose headers are not told"
    if count["LayoutTable"]:
        yield "tables that are told as mere layout"
