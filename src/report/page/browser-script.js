/* What the page does beyond showing itself: sorting, the filter by arm, values under the pointer, clients' pages. Texts enter the page as texts only. */
(() => {
  "use strict";
  const $ = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const hiddenArms = new Set();
  let data = { arms: [], metrics: [], clients: [] };

  /* Elements made here: name, properties, children. */
  const make = (name, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(name), properties);
    element.append(...children);
    return element;
  };

  const readData = () => {
    const source = $("#study-data");
    if (source !== null) data = JSON.parse(source.textContent);
  };

  /* Sorting */
  const valueOf = (row, column) => {
    const cell = row.cells[column];
    const value = cell.dataset.value;
    return value === undefined ? cell.textContent : value === "" ? null : Number(value);
  };
  const compare = (left, right) => {
    if (left === null || right === null) return left === right ? 0 : left === null ? 1 : -1;
    return typeof left === "number" && typeof right === "number" ? left - right : String(left).localeCompare(String(right), undefined, { numeric: true });
  };
  const sortTable = (heading) => {
    const table = heading.closest("table");
    const descending = heading.getAttribute("aria-sort") === "ascending";
    for (const other of all("thead th", table)) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const column = heading.cellIndex;
    const rows = [...table.tBodies[0].rows];
    const sign = descending ? -1 : 1;
    rows.sort((left, right) => {
      const [a, b] = [valueOf(left, column), valueOf(right, column)];
      // What was not measured stays at the end.
      return a === null || b === null ? compare(a, b) : sign * compare(a, b);
    });
    table.tBodies[0].append(...rows);
    say(`sorted by ${heading.textContent}, ${descending ? "descending" : "ascending"}`);
  };

  /* Filter by arm */
  const applyFilter = () => {
    for (const element of all("main [data-series]")) {
      const { series, otherSeries } = element.dataset;
      const isHidden = hiddenArms.has(series) || (otherSeries !== undefined && hiddenArms.has(otherSeries));
      if (element instanceof SVGElement) element.style.display = isHidden ? "none" : "";
      else element.hidden = isHidden;
    }
    for (const box of all(".filter input")) box.checked = !hiddenArms.has(box.value);
  };

  /* Values under the pointer, and by arrow keys in a figure that has the focus */
  const say = (text) => {
    $("#status").textContent = text;
  };
  const tip = () => $("#tip");
  const showTip = (mark) => {
    const box = tip();
    box.textContent = mark.dataset.tip;
    box.hidden = false;
    const place = mark.getBoundingClientRect();
    const size = box.getBoundingClientRect();
    box.style.left = `${Math.max(4, Math.min(innerWidth - size.width - 4, place.left + place.width / 2 - size.width / 2))}px`;
    box.style.top = `${place.top - size.height - 8 < 4 ? place.bottom + 8 : place.top - size.height - 8}px`;
  };
  const hideTip = () => {
    tip().hidden = true;
    for (const mark of all(".figure .current")) mark.classList.remove("current");
  };
  const prepareFigures = () => {
    for (const title of all("main .figure :not(svg) > title")) {
      title.parentElement.dataset.tip = title.textContent;
      title.remove();
    }
    for (const figure of all("main figure svg.figure")) {
      figure.setAttribute("tabindex", "0");
      figure.setAttribute("aria-describedby", "figure-keys");
    }
  };
  const stepThrough = (figure, step) => {
    const marks = all("[data-tip]", figure).filter((mark) => mark.getClientRects().length > 0);
    if (marks.length === 0) return;
    const now = marks.findIndex((mark) => mark.classList.contains("current"));
    const next = marks[(now + step + marks.length + (now < 0 && step < 0 ? 1 : 0)) % marks.length];
    hideTip();
    next.classList.add("current");
    showTip(next);
    say(next.dataset.tip);
  };

  /* Clients */
  const format = (metric, value) => (value === null ? "-" : `${(value * metric.factor).toFixed(metric.digits)}`);
  const clientRow = ([arm, rounds, failures, tokens, sent, trainLoss, values]) => {
    const row = make("tr", {}, make("th", { scope: "row", textContent: data.arms[arm] }));
    row.dataset.series = data.arms[arm];
    const number = (text) => row.append(make("td", { className: "number", textContent: text }));
    for (const [index, metric] of data.metrics.entries()) {
      const [before, value] = values[index] ?? [null, null];
      const cell = make("td", { className: "number", textContent: before === null ? format(metric, value) : `${format(metric, before)} → ${format(metric, value)}` });
      if (before !== null && value !== null && before !== value && metric.higherIsBetter !== null) {
        const isBetter = value > before === metric.higherIsBetter;
        cell.append(" ", make("span", { className: isBetter ? "better" : "worse", textContent: isBetter ? "better" : "worse" }));
      }
      row.append(cell);
    }
    number(String(rounds));
    number(String(failures));
    number(tokens.toLocaleString("en"));
    number(sent);
    number(trainLoss === null ? "-" : trainLoss.toFixed(4));
    return row;
  };
  const showClient = (index) => {
    const [id, group, samples, arms] = data.clients[index];
    const page = $("#client-page");
    const heads = ["arm", ...data.metrics.map(({ title }) => title), "rounds", "failures", "tokens", "sent", "train loss"];
    const head = make("tr", {}, ...heads.map((title, place) => make("th", { scope: "col", className: place === 0 ? "" : "number", textContent: title })));
    const scroll = make("div", { className: "scroll", tabIndex: 0, role: "region", ariaLabel: `client ${id}, by arm` }, make("table", {}, make("thead", {}, head), make("tbody", {}, ...arms.map(clientRow))));
    const heading = make("h2", { textContent: `Client ${id}`, tabIndex: -1 });
    const link = (to, text) => make("a", { href: `#client=${to}`, textContent: text });
    const steps = make("p", {}, make("a", { href: "#clients", textContent: "all clients" }));
    if (index > 0) steps.append(" · ", link(index - 1, `previous: ${data.clients[index - 1][0]}`));
    if (index + 1 < data.clients.length) steps.append(" · ", link(index + 1, `next: ${data.clients[index + 1][0]}`));
    const facts = [group === null ? [] : [`group ${group}`], samples === null ? [] : [`${samples} samples`]].flat().join(", ");
    page.replaceChildren(steps, heading, make("p", { textContent: `${facts === "" ? "" : `${facts}. `}On its own held-out data, before and after training; means over seeds.` }), scroll);
    $("#content").hidden = true;
    page.hidden = false;
    applyFilter();
    scrollTo(0, 0);
    heading.focus({ preventScroll: true });
  };
  const route = () => {
    const [, index] = /^#client=(\d+)$/.exec(location.hash) ?? [];
    if (index !== undefined && Number(index) < data.clients.length) return showClient(Number(index));
    if ($("#client-page").hidden) return;
    $("#client-page").hidden = true;
    $("#content").hidden = false;
    if (location.hash.length > 1) document.getElementById(location.hash.slice(1))?.scrollIntoView();
  };

  /* Once for a new page, and again whenever the dashboard has put new content in. */
  const prepare = () => {
    readData();
    prepareFigures();
    for (const element of all(".filter, .only-script")) element.hidden = false;
    applyFilter();
    route();
  };

  document.addEventListener("click", (event) => {
    const heading = event.target.closest("th");
    if (event.target.closest("th button") !== null) sortTable(heading);
    if (event.target.closest("#show-all") !== null) {
      hiddenArms.clear();
      applyFilter();
    }
    if (event.target.closest(".figure") === null) hideTip();
  });
  document.addEventListener("change", ({ target }) => {
    if (!target.matches(".filter input")) return;
    if (target.checked) hiddenArms.delete(target.value);
    else hiddenArms.add(target.value);
    applyFilter();
  });
  for (const kind of ["pointerover", "pointerdown"]) {
    document.addEventListener(kind, ({ target }) => {
      const mark = target instanceof Element ? target.closest("[data-tip]") : null;
      if (mark !== null) showTip(mark);
      else if (kind === "pointerover") hideTip();
    });
  }
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") hideTip();
    const figure = event.target instanceof Element && event.target.matches("svg.figure") ? event.target : null;
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (figure === null || step === undefined) return;
    event.preventDefault();
    stepThrough(figure, step);
  });
  document.addEventListener("focusout", hideTip);
  addEventListener("hashchange", route);
  addEventListener("beforeprint", () => {
    for (const details of all("details")) details.open = true;
  });

  /* Live: the server says when there is something new, and the page takes it without losing its place. */
  const renew = async (address) => {
    const answer = await fetch(address, { cache: "no-store" });
    if (!answer.ok) return;
    const next = new DOMParser().parseFromString(await answer.text(), "text/html");
    const open = new Set(all("details[open]").map(({ id }) => id));
    const sorted = all("th[aria-sort]").map((heading) => [heading.closest("table").id, heading.cellIndex, heading.getAttribute("aria-sort")]);
    const focused = document.activeElement?.id;
    document.title = next.title;
    for (const id of ["title", "content", "study-data", "facts", "live"]) {
      const [old, fresh] = [document.getElementById(id), next.getElementById(id)];
      if (old !== null && fresh !== null) old.replaceChildren(...document.importNode(fresh, true).childNodes);
    }
    for (const id of open) document.getElementById(id)?.setAttribute("open", "");
    prepare();
    for (const [id, column, direction] of sorted) {
      const heading = document.getElementById(id)?.tHead.rows[0].cells[column];
      if (heading === undefined) continue;
      sortTable(heading);
      if (direction === "descending") sortTable(heading);
    }
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
  };
  const follow = () => {
    const { live } = document.body.dataset;
    if (live === undefined) return;
    const source = new EventSource(`${live}events`);
    const state = (text) => {
      $("#connection").textContent = text;
    };
    source.addEventListener("open", () => state("live"));
    source.addEventListener("error", () => state("connection lost, trying again"));
    source.addEventListener("study", ({ data: version }) => {
      if (version === document.body.dataset.version) return;
      document.body.dataset.version = version;
      renew(live).catch(() => state("connection lost, trying again"));
    });
  };

  prepare();
  follow();
})();
