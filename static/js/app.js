// Slipway's one script: first-party, no imports, no eval. Every page works without it; this makes pages live,
// logs comfortable and the keyboard useful.

const policy = window.trustedTypes?.createPolicy("slipway", { createHTML: (s) => s }) ?? { createHTML: (s) => s };
const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

/** Server-rendered HTML as nodes. Only ever fed with answers of this origin. */
function fragment(html) {
  const template = document.createElement("template");
  template.innerHTML = policy.createHTML(html);
  return template.content;
}

const parse = (html) => new DOMParser().parseFromString(policy.createHTML(html), "text/html");

/** Says something to those who can't see it change. */
function announce(text) {
  const status = $("#live-status");
  if (status && text && status.textContent !== text) status.textContent = text;
}

function toast(text) {
  const box = document.createElement("div");
  box.textContent = text;
  $(".toasts")?.append(box);
  setTimeout(() => box.remove(), 3200);
}

// ---- one node becomes like another, keeping focus, what was typed and what is open ----

const clientOwned = new Set(["open", "aria-pressed", "aria-busy"]);

function morph(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  if (old.nodeName !== fresh.nodeName || (old.id ?? "") !== (fresh.id ?? "")) return old.replaceWith(fresh);
  if (old.nodeType !== Node.ELEMENT_NODE) {
    old.data = fresh.data;
    return;
  }
  if ("keep" in old.dataset) return;
  for (const { name, value } of [...fresh.attributes]) {
    if (!clientOwned.has(name) && old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  for (const { name } of [...old.attributes]) {
    if (!clientOwned.has(name) && !fresh.hasAttribute(name)) old.removeAttribute(name);
  }
  morphChildren(old, fresh);
}

function morphChildren(old, fresh) {
  let at = old.firstChild;
  for (const node of [...fresh.childNodes]) {
    const same = counterpart(at, node);
    if (!same) {
      old.insertBefore(node, at);
      continue;
    }
    if (same === at) at = at.nextSibling;
    else old.insertBefore(same, at);
    morph(same, node);
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

/** The sibling from `at` on that stands for node: the one with its id, or the very next one when neither has an id. */
function counterpart(at, node) {
  if (node.id) {
    for (let n = at; n; n = n.nextSibling) if (n.id === node.id) return n;
    return null;
  }
  return at && !at.id && at.nodeName === node.nodeName ? at : null;
}

// ---- server-sent events that stop while the tab is hidden and go on where they were ----

class Stream {
  constructor(url, on, last = "") {
    Object.assign(this, { url, on, last });
    this.toggle = () => (document.hidden ? this.stop() : this.start());
    document.addEventListener("visibilitychange", this.toggle);
    this.toggle();
  }

  start() {
    if (this.source || this.ended || this.paused) return;
    const url = new URL(this.url, location.href);
    if (this.last) url.searchParams.set("after", this.last);
    this.source = new EventSource(url);
    for (const kind of ["message", "patch", "change", "end"]) {
      this.source.addEventListener(kind, (event) => {
        if (event.lastEventId) this.last = event.lastEventId;
        this.on(kind, event.data);
      });
    }
    this.source.onopen = () => this.on("open");
    this.source.onerror = () => {
      this.on("retry");
      // The browser tries again by itself unless the answer was an error: then try more slowly.
      if (this.source?.readyState === EventSource.CLOSED) {
        this.stop();
        setTimeout(() => document.hidden || this.start(), 5000);
      }
    };
  }

  stop() {
    this.source?.close();
    this.source = null;
  }

  close() {
    this.ended = true;
    this.stop();
    document.removeEventListener("visibilitychange", this.toggle);
  }
}

// ---- live pages: something changed, so read the page again and take over what differs ----

let reading = null;
let again = false;

async function refresh() {
  if (reading) {
    again = true;
    return;
  }
  reading = fetch(location.href, { headers: { Accept: "text/html", "Slipway-Live": "1" }, redirect: "manual" });
  try {
    const answer = await reading;
    if (answer.ok) takeOver(parse(await answer.text()));
  } catch {
    // offline for a moment: the stream's next event brings the page up to date
  }
  reading = null;
  if (again) {
    again = false;
    setTimeout(refresh, 300);
  }
}

function takeOver(page) {
  const main = $("#main");
  const fresh = $("#main", page);
  if (!main || !fresh) return;
  announce(fresh.dataset.status);
  document.title = page.title;
  const icon = $("link[rel=icon]");
  icon.href = $("link[rel=icon]", page)?.getAttribute("href") ?? icon.href;
  const regions = $$("[data-live-id]", main);
  if (!regions.length) return morph(main, fresh);
  for (const region of regions) {
    const next = $(`[data-live-id="${CSS.escape(region.dataset.liveId)}"]`, fresh);
    if (next) morph(region, next);
  }
}

let pending = 0;
function soon() {
  pending ||= setTimeout(() => {
    pending = 0;
    refresh();
  }, 150);
}

// The tab that is current is in sight, however many there are on a small screen.
const tabs = $(".tabs");
if (tabs) tabs.scrollLeft = $("[aria-current]", tabs)?.offsetLeft - innerWidth / 2;

const live = $("main[data-live]");
const every = $("main").dataset.every;
if (every) setInterval(() => document.hidden || refresh(), every * 1000);
if (live) {
  let seen = false;
  new Stream(live.dataset.live, (kind) => {
    if (kind === "change") soon();
    if (kind === "open") {
      // Events may have been missed while the tab was hidden, or, on a page that waits for one, before the stream was there.
      if (seen || $("head noscript")) soon();
      seen = true;
    }
  });
}

// ---- lists of files: the arrows go from row to row, into a folder and out of it ----

document.addEventListener("keydown", (event) => {
  const rows = event.target.closest?.("[data-rows]");
  if (!rows || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  const all = $$("a.cover", rows);
  const at = all.indexOf(event.target);
  if (at < 0) return;
  const to = {
    ArrowDown: () => all[at + 1]?.focus(),
    ArrowUp: () => all[at - 1]?.focus(),
    ArrowRight: () => all[at].click(),
    ArrowLeft: () => $("[data-up]")?.click(),
  }[event.key];
  if (!to) return;
  event.preventDefault();
  to();
});

// ---- logs ----

/** So many lines stand in the page at most; the rest of a long log is on the server. */
const kept = 3000;

customElements.define("log-view", class extends HTMLElement {
  connectedCallback() {
    this.log = $(".log[role=log]", this);
    this.tail = $("[data-tail]", this);
    this.last = Number(this.getAttribute("last"));
    this.parts = this.getAttribute("parts");
    this.queue = [];
    this.following = "follow" in this.dataset;
    this.addEventListener("click", (event) => this.click(event));
    const find = $("[data-find]", this);
    find?.addEventListener("input", () => this.find(find.value));
    find?.addEventListener("keydown", (event) => {
      // What stands in the page is searched as one types; Enter asks the server for the whole log where that is more.
      if (event.key === "Enter" && (!this.parts || this.whole)) {
        event.preventDefault();
        this.step(event.shiftKey ? -1 : 1);
      }
      if (event.key === "Escape") {
        find.value = "";
        this.find("");
      }
    });
    if (find?.value) this.find(find.value);
    this.follow(this.following);
    this.watchScroll();
    this.watchEnds();
    this.onHash = () => this.toLine();
    addEventListener("hashchange", this.onHash);
    this.toLine();
    if (this.getAttribute("src")) {
      this.stream = new Stream(this.getAttribute("src"), (kind, data) => this.receive(kind, data), String(this.last));
    }
  }

  disconnectedCallback() {
    this.stream?.close();
    this.ends?.disconnect();
    removeEventListener("wheel", this.onWheel);
    removeEventListener("scroll", this.onScroll);
    removeEventListener("hashchange", this.onHash);
  }

  receive(kind, data) {
    if (kind === "message") {
      this.queue.push(data);
      this.timer ||= setTimeout(() => this.flush(), 80);
    } else if (kind === "patch") {
      for (const node of [...fragment(data).children]) {
        const old = node.id && document.getElementById(node.id);
        if (old) morph(old, node);
      }
    } else if (kind === "change") {
      soon();
    } else if (kind === "end") {
      this.end();
    } else if (kind === "retry") {
      this.say("Reconnecting…");
    } else if (kind === "open") {
      this.say();
    }
  }

  /** One write to the page for everything that came since the last one. */
  flush() {
    this.timer = 0;
    const lines = document.createDocumentFragment();
    for (const html of this.queue) lines.append(fragment(html));
    this.queue = [];
    this.last = Number(lines.lastElementChild?.lastElementChild?.dataset.n ?? this.last);
    if (this.more("later")) return this.say(); // the end of the log is out of sight
    $(".bare", this)?.remove();
    this.log.append(lines);
    if (this.parts) this.trim(this.following ? "earlier" : "later");
    this.say();
    if (this.term) this.find(this.term, this.hit);
    if (this.following) this.toEnd();
    if (this.aim()) this.following = false;
  }

  // -- the part of the log that stands in the page --

  get whole() { return !this.more("earlier") && !this.more("later"); }

  /** The link to the lines before or after these. */
  more(side) { return $(`:scope > [data-${side}]`, this.log); }

  /** Adds such a link at its end of the log. */
  addMore(side) {
    this.more(side)?.remove();
    const lines = $$(".l", this.log);
    const line = lines.at(side === "earlier" ? 0 : -1);
    if (!line) return;
    const url = new URL(location.pathname, location.href);
    url.searchParams.set(side === "earlier" ? "before" : "after", line.dataset.n);
    const link = document.createElement("a");
    Object.assign(link, { className: "further", href: url, textContent: side === "earlier" ? "Earlier lines" : "Later lines" });
    link.dataset[side] = "";
    this.log[side === "earlier" ? "prepend" : "append"](link);
    this.ends?.observe(link);
  }

  /** Takes lines away at one end where there are too many. */
  trim(side) {
    const chunks = $$(":scope > .ch", this.log);
    let count = chunks.reduce((sum, chunk) => sum + chunk.childElementCount, 0);
    if (count <= kept) return;
    while (count > kept && chunks.length > 1) {
      const chunk = side === "earlier" ? chunks.shift() : chunks.pop();
      count -= chunk.childElementCount;
      chunk.remove();
    }
    this.addMore(side);
  }

  /** Reads another part of the log; put receives it. False: it could not be read. */
  async read(query, put) {
    if (!this.parts || this.reading) return false;
    this.reading = true;
    const url = new URL(this.parts, location.href);
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
    const answer = await fetch(url, { headers: { Accept: "text/html" }, redirect: "manual" }).catch(() => null);
    const html = answer?.ok ? await answer.text() : null;
    this.reading = false;
    if (html === null) {
      this.say("More lines could not be loaded");
      return false;
    }
    put(fragment(html));
    for (const side of ["earlier", "later"]) if (this.more(side)) this.ends?.observe(this.more(side));
    this.say();
    if (this.term) this.find(this.term, this.hit);
    return true;
  }

  earlier() {
    return this.read({ before: this.at("earlier", "before") }, (part) => {
      $("[data-later]", part)?.remove();
      this.more("earlier")?.remove();
      this.still(() => {
        this.log.prepend(part);
        this.trim("later");
      });
    });
  }

  later() {
    return this.read({ after: this.at("later", "after") }, (part) => {
      $("[data-earlier]", part)?.remove();
      this.more("later")?.remove();
      this.log.append(part);
      this.still(() => this.trim("earlier"), ".ch:last-of-type");
    });
  }

  /** Shows another part instead of this one. */
  show(query) { return this.read(query, (part) => this.log.replaceChildren(part)); }

  /** Where the link to more lines goes on: a search may have come further than the lines that it found. */
  at(side, name) { return new URL(this.more(side).href).searchParams.get(name); }

  /** Changes the log without moving what one looks at. */
  still(change, which = ".ch") {
    const seen = $(`:scope > ${which}`, this.log);
    const top = seen?.getBoundingClientRect().top;
    change();
    if (seen?.isConnected) scrollBy({ top: seen.getBoundingClientRect().top - top, behavior: "instant" });
  }

  /** Lines after these come by themselves when one scrolls there; those before by a click, so that nothing jumps. */
  watchEnds() {
    if (!this.parts) return;
    this.ends = new IntersectionObserver((entries) => {
      if (this.scrolled && entries.some((entry) => entry.isIntersecting && "later" in entry.target.dataset)) this.later();
    }, { rootMargin: "600px 0px" });
    if (this.more("later")) this.ends.observe(this.more("later"));
  }

  /** Goes to the line of the address, wherever in the log it is. */
  async toLine() {
    const line = /^#L(\d+)$/.exec(location.hash)?.[1];
    if (!line) return;
    this.aimed = false;
    if (!document.getElementById(`L${line}`) && Number(line) <= this.last) await this.show({ line });
    this.aim();
  }

  /** Marks the line of the address once it is there. */
  aim() {
    if (this.aimed || !location.hash.startsWith("#L")) return false;
    const line = document.getElementById(location.hash.slice(1));
    if (!line) return false;
    this.aimed = true;
    this.point(line);
    line.scrollIntoView({ block: "center", behavior: "instant" });
    return true;
  }

  end() {
    if (this.queue.length) this.flush();
    this.stream.close();
    $(".tailing", this)?.classList.replace("is-run", "is-idle");
    const button = $("[data-follow]", this);
    if (button) button.hidden = true;
    this.following = false;
    this.say();
    refresh();
  }

  say(text) {
    if (!this.tail) return;
    const part = this.parts?.includes("step=") || "part" in this.dataset;
    const count = part ? $$(".l", this.log).length : this.last;
    this.tail.textContent = text ?? `${count.toLocaleString("en")} ${count === 1 ? "line" : "lines"}${part && !this.whole ? " in sight" : ""}`;
  }

  follow(on) {
    this.following = on;
    $("[data-follow]", this)?.setAttribute("aria-pressed", on);
  }

  /** Scrolls without reading the height, which would lay the whole log out anew. */
  toEnd() {
    (this.log.classList.contains("short") ? this.log : window).scrollTo({ top: 1e9, behavior: "instant" });
  }

  watchScroll() {
    this.onWheel = (event) => event.deltaY < 0 && this.follow(false);
    this.onScroll = () => {
      this.scrolled = true;
      const atEnd = innerHeight + scrollY >= document.documentElement.scrollHeight - 4;
      if (atEnd && this.stream && !this.stream.ended && !this.more("later")) this.follow(true);
    };
    addEventListener("wheel", this.onWheel, { passive: true });
    addEventListener("scroll", this.onScroll, { passive: true });
  }

  click(event) {
    const line = event.target.closest(".l");
    if (line?.id && event.target === line && event.offsetX < 68) this.link(line);
    const side = event.target.closest(".further");
    if (side) {
      event.preventDefault();
      if ("earlier" in side.dataset) this.earlier();
      else this.later();
    }
    if (event.target.closest("[data-end]")) {
      event.preventDefault();
      this.show({ end: 1 }).then(() => this.toEnd());
    }
    if (event.target.closest("[data-wrap]")) this.wrap();
    if (event.target.closest("[data-follow]")) {
      this.follow(!this.following);
      if (this.following && this.more("later")) this.show({ end: 1 }).then(() => this.toEnd());
      else if (this.following) this.toEnd();
    }
    const step = event.target.closest("[data-step]");
    if (step) this.step(Number(step.dataset.step));
    const pause = event.target.closest("[data-pause]");
    if (pause) this.pause(pause);
  }

  /** Lets nothing more come until the button is pressed again; then what was missed comes first. */
  pause(button) {
    const on = (this.stream.paused = !this.stream.paused);
    button.setAttribute("aria-pressed", on);
    if (on) this.stream.stop();
    else this.stream.start();
    this.say(on ? "Paused" : undefined);
  }

  /** Puts an address into the bar that opens at the line, also where scripts are off. */
  link(line) {
    if (this.parts) {
      const url = new URL(location.href);
      url.searchParams.set("line", line.dataset.n);
      for (const other of ["before", "after", "end"]) url.searchParams.delete(other);
      url.hash = line.id;
      history.replaceState(null, "", url);
      this.point(line);
    } else location.hash = line.id;
  }

  point(line) {
    for (const old of $$(".l.aimed", this.log)) old.classList.remove("aimed");
    line.classList.add("aimed");
  }

  wrap() {
    $("[data-wrap]", this)?.setAttribute("aria-pressed", this.log.classList.toggle("wrap"));
  }

  /** Marks every place of the term with the CSS highlight API: the log itself stays as it is. */
  find(term, at = -1) {
    this.term = term;
    this.hits = [];
    globalThis.CSS?.highlights?.clear();
    if (term) {
      const wanted = term.toLowerCase();
      for (const line of $$(".l", this.log)) {
        if (line.textContent.toLowerCase().includes(wanted)) this.hits.push(line);
      }
      this.mark(wanted);
    }
    this.hit = at;
    this.count();
  }

  count() {
    const count = $("[data-count]", this);
    const found = this.hit < 0 ? `${this.hits.length} ${this.parts && !this.whole ? "in sight" : "lines"}` : `${this.hit + 1} of ${this.hits.length}`;
    if (count) count.textContent = this.term ? (this.hits.length ? found : "none") : "";
  }

  mark(wanted) {
    if (!globalThis.Highlight) return;
    const ranges = [];
    for (const line of this.hits.slice(0, 2000)) {
      const walker = document.createTreeWalker(line, NodeFilter.SHOW_TEXT);
      for (let text; (text = walker.nextNode()); ) {
        const lower = text.data.toLowerCase();
        for (let i = lower.indexOf(wanted); i >= 0; i = lower.indexOf(wanted, i + wanted.length)) {
          const range = new Range();
          range.setStart(text, i);
          range.setEnd(text, i + wanted.length);
          ranges.push(range);
        }
      }
    }
    CSS.highlights.set("found", new Highlight(...ranges));
  }

  step(by) {
    if (!this.hits?.length) return;
    this.follow(false);
    this.hit = (this.hit + by + this.hits.length) % this.hits.length;
    const line = this.hits[this.hit];
    line.scrollIntoView({ block: "center" });
    if (globalThis.Highlight) {
      const range = new Range();
      range.selectNodeContents(line);
      CSS.highlights.set("found-now", new Highlight(range));
    }
    this.count();
  }

  async nextError() {
    this.follow(false);
    const below = () => $$(".l.err", this.log).find((line) => line.getBoundingClientRect().top > innerHeight / 2 + 20);
    let next = below();
    for (let tries = 0; !next && tries < 20 && this.more("later") && (await this.later()); tries++) next = below();
    (next ?? $(".l.err", this.log))?.scrollIntoView({ block: "center" });
  }
});

// ---- times ----

/** The same words as components.Ago on the server. */
function ago(seconds) {
  const units = [["d", 86400], ["h", 3600], ["min", 60]];
  if (seconds < 45) return "just now";
  if (seconds >= 30 * 86400) return null;
  for (const [unit, size] of units) {
    if (seconds >= size - (unit === "min" ? 15 : 0)) return `${Math.max(1, Math.floor(seconds / size))} ${unit} ago`;
  }
}

function lasted(seconds) {
  if (seconds < 60) return `${seconds}s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m ${seconds % 60}s`;
  return `${Math.floor(seconds / 3600)}h ${Math.floor((seconds % 3600) / 60)}m`;
}

function tick() {
  if (document.hidden) return;
  const now = Date.now();
  for (const time of $$("time[data-since]")) {
    time.textContent = lasted(Math.max(0, Math.floor((now - Date.parse(time.dateTime)) / 1000)));
  }
  for (const time of $$("time[data-ago]")) {
    const text = ago((now - Date.parse(time.dateTime)) / 1000);
    if (text && time.textContent !== text) time.textContent = text;
  }
}
setInterval(tick, 1000);

// ---- theme, copy, forms ----

$("#theme")?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const theme = event.submitter.value;
  document.documentElement.dataset.theme = theme;
  event.currentTarget.hidePopover();
  await fetch(event.currentTarget.action, { method: "POST", body: new URLSearchParams({ theme }), redirect: "manual" });
});

document.addEventListener("click", (event) => {
  const copy = event.target.closest("[data-copy]");
  if (copy) {
    event.preventDefault();
    navigator.clipboard?.writeText(copy.dataset.copy).then(() => toast("Copied"), () => toast("The browser did not allow copying"));
  }
  if (event.target.closest("[data-palette]")) {
    event.preventDefault();
    openPalette();
  }
});

// A form is sent once: a second click while it is on its way does nothing.
document.addEventListener("submit", (event) => {
  if (event.defaultPrevented || event.target.method === "dialog") return;
  const button = event.submitter;
  if (button?.getAttribute("aria-busy") === "true") return event.preventDefault();
  button?.setAttribute("aria-busy", "true");
  setTimeout(() => button?.removeAttribute("aria-busy"), 10000);
});
addEventListener("pageshow", () => $$("[aria-busy=true]").forEach((button) => button.removeAttribute("aria-busy")));

// Filter forms apply as soon as something is chosen.
document.addEventListener("change", (event) => {
  if (event.target.closest("form[data-auto]")) event.target.form.requestSubmit();
});

// A list is narrowed while one types; Enter asks the server for all of it.
document.addEventListener("input", (event) => {
  const rows = event.target.dataset?.filter && document.getElementById(event.target.dataset.filter);
  if (!rows) return;
  const wanted = event.target.value.trim().toLowerCase();
  for (const row of $$("[data-name]", rows)) row.hidden = !row.dataset.name.toLowerCase().includes(wanted);
});

// Browsers before 2025 do not know command and commandfor.
if (!("commandForElement" in HTMLButtonElement.prototype)) {
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[commandfor]");
    const target = button && document.getElementById(button.getAttribute("commandfor"));
    if (!target) return;
    if (button.getAttribute("command") === "close") target.close();
    else target.showModal();
  });
}

// A click beside a dialog closes it.
document.addEventListener("click", (event) => {
  if (event.target.matches?.("dialog[open]") && event.detail) {
    const box = event.target.getBoundingClientRect();
    const inside = event.clientX >= box.left && event.clientX <= box.right && event.clientY >= box.top && event.clientY <= box.bottom;
    if (!inside) event.target.close();
  }
});

// ---- palette: the search page in a dialog ----

const palette = $("#palette");
let asked = 0;

function openPalette() {
  if (!palette || palette.open) return;
  palette.showModal();
  const input = $("input", palette);
  input.select();
  search(input.value);
}

async function search(term) {
  const mine = ++asked;
  const answer = await fetch(`${palette.dataset.src}?q=${encodeURIComponent(term)}`, { redirect: "manual" }).catch(() => null);
  if (mine !== asked || !answer?.ok) return;
  const hits = $("#hits", parse(await answer.text()));
  if (mine !== asked || !hits) return;
  const list = $(".hits", palette);
  list.replaceChildren(...hits.childNodes);
  $$(".grp", list).forEach((group) => (group.role = "presentation"));
  $$(".hit", list).forEach((hit, i) => Object.assign(hit, { id: `hit-${i}`, role: "option", tabIndex: -1 }));
  pick(0);
}

function pick(n) {
  const hits = $$(".hit", palette);
  palette.at = hits.length ? (n + hits.length) % hits.length : 0;
  hits.forEach((hit, i) => hit.setAttribute("aria-selected", i === palette.at));
  hits[palette.at]?.scrollIntoView({ block: "nearest" });
  $("input", palette).setAttribute("aria-activedescendant", hits.length ? `hit-${palette.at}` : "");
}

let typing = 0;
palette?.addEventListener("input", (event) => {
  clearTimeout(typing);
  typing = setTimeout(() => search(event.target.value), 60);
});
palette?.addEventListener("keydown", (event) => {
  const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (by) {
    event.preventDefault();
    pick(palette.at + by);
  } else if (event.key === "Enter") {
    event.preventDefault();
    $("[aria-selected=true]", palette)?.click();
  }
});

// ---- keyboard ----

const places = { h: "/", r: "/repositories", a: "/apps", b: "/builds", i: "/images", e: "/environments", t: "/teams" };
let prefix = 0;

addEventListener("keydown", (event) => {
  if ((event.metaKey || event.ctrlKey) && event.key === "k") {
    event.preventDefault();
    if (palette?.open) palette.close();
    else openPalette();
    return;
  }
  if ("noKeys" in document.documentElement.dataset) return;
  const busy = event.target.closest?.("input, textarea, select, [contenteditable], dialog");
  if (busy || event.metaKey || event.ctrlKey || event.altKey) return;
  const log = $("log-view");
  const went = Date.now() - prefix < 900 && places[event.key];
  prefix = event.key === "g" ? Date.now() : 0;
  if (went) location.href = went;
  else if (event.key === "/") {
    event.preventDefault();
    openPalette();
  } else if (event.key === "?") $("#keys")?.showModal();
  else if (log && event.key === "f") $("[data-follow]", log)?.click();
  else if (log && event.key === "w") log.wrap();
  else if (log && event.key === "e") log.nextError();
});

setTimeout(() => $$(".toasts .notice").forEach((notice) => notice.remove()), 6000);

// The row of a page's views is wider than a phone: the one that is open comes into sight.
const view = $("nav.tabs [aria-current]");
if (view) {
  const row = view.parentElement;
  row.scrollLeft += view.getBoundingClientRect().left - row.getBoundingClientRect().left - 16;
}
