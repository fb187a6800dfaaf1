/* What pages can do beyond showing: refresh their figures, copy digests, leave Airflow's frame. Each works without it. */
(() => {
  "use strict";

  /* Figures that change: <section id data-live="address" data-every="seconds" data-at="seconds since the epoch">.
     The address answers with the page itself, or with JSON: {"html": its new content, "at": …, "ended": …}.
     Only parts that changed are replaced, so that a reader keeps place and focus; what a screen reader shall say
     stands in the part with role "status", whose text changes only when the state does. */
  class Stop extends Error {}

  function follow(region) {
    const every = Math.max(1, Number(region.dataset.every)) * 1000;
    const told = region.querySelector("[data-freshness]");
    let failures = 0;
    let known = told.textContent;

    async function ask() {
      const answer = await fetch(region.dataset.live, {
        headers: { "Cache-Control": "no-cache" },
        signal: AbortSignal.timeout(10000),
      });
      if (answer.status === 401 || answer.status === 403) throw new Stop("You are no longer logged in; reload to log in.");
      if (answer.status === 404) throw new Stop("It is no longer there; reload to see what became of it.");
      if (!answer.ok) throw new Error(`The server answered ${answer.status}.`);
      if ((answer.headers.get("content-type") || "").includes("json")) return answer.json();
      const found = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById(region.id);
      if (found === null) throw new Stop("The page has changed; reload to see it.");
      return { html: found.innerHTML, ended: !("live" in found.dataset) };
    }

    function show(html) {
      const draft = document.createElement("template");
      draft.innerHTML = html;
      const fresh = new Map([...draft.content.querySelectorAll("[data-part]")].map((part) => [part.dataset.part, part]));
      const parts = [...region.querySelectorAll("[data-part]")];
      const same = parts.length === fresh.size && parts.every((part) => fresh.has(part.dataset.part));
      if (!same) {
        const words = region.querySelector("[role=status]");
        const status = draft.content.querySelector("[role=status]");
        region.replaceChildren(draft.content);
        if (words && status && words.textContent !== status.textContent) {
          const text = status.textContent; // a status that appears is not read out, one that changes is
          status.textContent = "";
          setTimeout(() => { status.textContent = text; }, 100);
        }
        return;
      }
      for (const part of parts) {
        const next = fresh.get(part.dataset.part);
        if (part.getAttribute("role") === "status") {
          if (part.textContent !== next.textContent) part.textContent = next.textContent;
        } else if (part.outerHTML !== next.outerHTML && !part.contains(document.activeElement)) {
          part.replaceWith(next);
        }
      }
    }

    function say(words, stale) {
      const place = region.querySelector("[data-freshness]");
      if (place === null) return;
      place.textContent = words;
      place.classList.toggle("stale", stale);
    }

    async function turn() {
      if (document.hidden) return setTimeout(turn, every);
      try {
        const answer = await ask();
        failures = 0;
        show(answer.html);
        const place = region.querySelector("[data-freshness]");
        if (place !== null) {
          place.classList.remove("stale");
          known = place.textContent;
        }
        region.dataset.seen = String(Date.now());
        if (answer.ended) {
          delete region.dataset.live;
          return undefined;
        }
      } catch (error) {
        failures += 1;
        if (error instanceof Stop) {
          say(`${known} ${error.message}`, true);
          return undefined;
        }
        say(`${known} No newer answer: this may be out of date. Trying again.`, true);
      }
      return setTimeout(turn, Math.min(every * 2 ** failures, 60000));
    }

    setTimeout(turn, every);
  }

  for (const region of document.querySelectorAll("[data-live]")) follow(region);

  /* <button data-copy="text">: shown by the style sheet only where scripts run. */
  async function copy(button) {
    const words = button.textContent;
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
    } catch {
      const area = document.createElement("textarea"); // the clipboard is for https and localhost only
      area.value = button.dataset.copy;
      area.readOnly = true;
      button.after(area);
      area.select();
      const done = document.execCommand("copy");
      area.remove();
      button.focus();
      if (!done) {
        button.textContent = "Not copied";
        setTimeout(() => { button.textContent = words; }, 2000);
        return;
      }
    }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = words; }, 2000);
  }

  /* Airflow shows pages in a frame that may not open windows nor move its parent, though it is of one origin:
     a link to a page of Airflow is followed by Airflow's own document. */
  function leave(link) {
    const outer = window.parent.document;
    const copy = outer.createElement("a");
    copy.href = link.href;
    outer.body.append(copy);
    copy.click();
    copy.remove();
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-copy]");
    if (button !== null) copy(button);
    const link = event.target.closest("a[data-airflow]");
    const plain = !(event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) && event.button === 0;
    if (link !== null && plain && document.documentElement.classList.contains("framed")) {
      event.preventDefault();
      leave(link);
    }
  });
})();
