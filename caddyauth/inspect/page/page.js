// The inspector's page: it keeps the latest decisions by their ids, and shows those that the filters let through. Every
// text goes in as text, never as markup: streams and agents are named by strangers.

const kept = 1000; // decisions in memory
const portion = 100; // rows, until somebody wants more
const plotted = 30; // minutes

const byId = (id) => document.getElementById(id);
const decisions = new Map(); // by id
const rows = new Map(); // by id: the list item, which stays open when the filters change
const filters = byId("filters");
const state = { shown: portion, paused: false, waiting: [], limit: undefined, loaded: false };

// make builds an element: its class, then its children, of which strings are text.
function make(name, className, ...children) {
	const element = document.createElement(name);
	if (className) element.className = className;
	for (const child of children) if (child !== undefined && child !== "") element.append(child);
	return element;
}

const two = (n) => String(n).padStart(2, "0");
const clock = (date) => `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
const count = (n, thing) => `${n.toLocaleString("en")} ${thing}${n === 1 ? "" : "s"}`;

function duration(nanoseconds = 0) {
	const ms = nanoseconds / 1e6;
	if (ms < 1) return `${Math.round(ms * 1000)} µs`;
	if (ms < 1000) return `${ms.toFixed(ms < 10 ? 1 : 0)} ms`;
	return `${(ms / 1000).toFixed(1)} s`;
}

function ago(date, now) {
	const seconds = Math.max(0, Math.round((now - date) / 1000));
	if (seconds < 60) return "just now";
	if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
	if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
	return `${count(Math.floor(seconds / 86400), "day")} ago`;
}

function time(text, shown) {
	const date = new Date(text);
	const element = make("time", shown ? "" : "when", shown ?? clock(date));
	element.dateTime = text;
	element.title = full(date);
	return element;
}

// full is a time with its date and its time zone, which is the browser's.
const full = (date) => date.toLocaleString("en", { dateStyle: "medium", timeStyle: "long" });
const day = (date) => date.toLocaleDateString("en", { weekday: "short", day: "numeric", month: "long" });

// outcome is a word with a sign, so that it does not hang on its colour.
function outcome(d) {
	if (d.decision === "notice") return make("span", "badge quiet", "· notice");
	if (d.allowed) return make("span", "badge good", d.decision === "forward" ? "→ forward" : "✓ allowed");
	return make("span", "badge " + (d.reason === "unavailable" ? "warn" : "bad"), "✕ " + d.reason);
}

function row(d) {
	const summary = make("summary", "",
		time(d.time),
		make("span", "what", outcome(d), d.report_only && !d.allowed ? make("small", "", " let through") : ""),
		make("span", "scheme", d.scheme || "–"),
		make("span", "from", d.key ? make("b", "", "key " + d.key) : "", d.key && d.client_ip ? " · " : "", d.client_ip),
		make("span", "about", d.stream ? make("b", "", d.stream) : "", d.mode ? ` (${d.mode})` : "", d.rule ? ` · ${d.rule}` : ""),
		make("span", "took", duration(d.duration)));
	const details = make("details", "", summary);
	details.addEventListener("toggle", () => {
		if (details.open && !details.querySelector(".inside")) details.append(inside(d));
	});
	const item = make("li", "", details);
	item.dataset.id = d.id;
	return item;
}

// inside is what an open row shows.
function inside(d) {
	const box = make("div", "inside");
	const kind = d.allowed ? " good" : d.reason === "unavailable" ? " warn" : "";
	box.append(make("div", "hint" + kind, make("strong", "", d.words), d.hint ?? ""));
	const facts = make("dl", "facts");
	for (const [name, value] of [
		["Detail", d.detail], ["Reason", d.reason], ["Status", d.status], ["Handler", d.handler && d.handler + "_auth"],
		["Scheme", d.scheme], ["Key", d.key], ["Address", d.client_ip], ["Stream", d.stream], ["Mode", d.mode],
		["Agent", d.agent], ["Rule", d.rule], ["Decision", d.decision],
		["Report only", d.report_only ? "yes: nothing is refused" : ""], ["Time", full(new Date(d.time))],
		["Took", duration(d.duration)],
	]) {
		if (value) facts.append(make("div", name === "Detail" ? "whole" : "", make("dt", "", name), make("dd", "", String(value))));
	}
	box.append(facts);
	if (d.steps?.length) {
		const steps = make("ol", "steps");
		for (const step of d.steps) {
			const kind = ["ok", "allow", "holds: allow"].includes(step.outcome) ? "good"
				: step.outcome in words || /deny$/.test(step.outcome) ? "bad" : "quiet";
			steps.append(make("li", "", make("span", "name", step.name), make("span", "badge " + kind, step.outcome),
				step.key || step.detail ? make("small", "", " " + [step.key && "key " + step.key, step.detail].filter(Boolean).join(" · ")) : ""));
		}
		box.append(make("div", "", make("h3", "", "What was looked at"), steps));
	}
	return box;
}

// words are the reasons that stand for a refusal, as steps name them.
const words = Object.fromEntries(["missing", "malformed", "bad_credential", "bad_signature", "bad_claim", "unknown_key", "body_mismatch",
	"expired", "not_yet_valid", "denied", "replayed", "too_large", "unavailable"].map((reason) => [reason, true]));

function matches(d) {
	const { outcome, reason, scheme, stream } = filters.elements;
	if (outcome.value && (d.decision === "notice" || (outcome.value === "allowed") !== Boolean(d.allowed))) return false;
	if (reason.value && d.reason !== reason.value) return false;
	if (scheme.value && d.scheme !== scheme.value) return false;
	return !stream.value || (d.stream ?? "").toLowerCase().includes(stream.value.toLowerCase());
}

// offer adds a value that came up to a filter, in the order of the alphabet.
function offer(select, value) {
	if (!value || [...select.options].some((option) => option.value === value)) return;
	const after = [...select.options].slice(1).find((option) => option.value > value);
	select.add(new Option(value, value), after ?? null);
}

function add(d) {
	if (decisions.has(d.id)) return false;
	decisions.set(d.id, d);
	offer(filters.elements.reason, d.reason);
	offer(filters.elements.scheme, d.scheme);
	return true;
}

// render brings the list to what the filters let through, newest first. Rows that stay are not touched, so that an open
// one stays open and the focus where it is.
function render(fresh = new Set()) {
	const newest = [...decisions.keys()].sort((a, b) => b - a);
	for (const id of newest.splice(kept)) {
		decisions.delete(id);
		rows.delete(id);
	}
	const matching = newest.filter((id) => matches(decisions.get(id)));
	const list = byId("decisions");
	const wanted = matching.slice(0, state.shown);
	const stay = new Set(wanted.map(String));
	for (const item of [...list.children]) {
		if (stay.has(item.dataset.id)) continue;
		if (item.contains(document.activeElement)) list.focus({ preventScroll: true }); // which would else be nowhere
		item.remove();
	}
	let place = list.firstElementChild;
	let above = day(new Date());
	for (const id of wanted) {
		if (!rows.has(id)) rows.set(id, row(decisions.get(id)));
		const item = rows.get(id);
		const its = day(new Date(decisions.get(id).time));
		if (its === above) delete item.dataset.day;
		else item.dataset.day = above = its;
		if (item === place) {
			place = place.nextElementSibling;
			continue;
		}
		item.classList.toggle("fresh", fresh.has(id));
		list.insertBefore(item, place);
	}
	const more = byId("more");
	if (matching.length <= state.shown && document.activeElement === more) list.focus({ preventScroll: true });
	more.hidden = matching.length <= state.shown;
	const nothing = decisions.size === 0 && state.loaded;
	byId("empty").hidden = !nothing || state.limit === 0;
	byId("off").hidden = !nothing || state.limit !== 0;
	byId("none").hidden = matching.length > 0 || decisions.size === 0;
	document.querySelector(".columns").hidden = matching.length === 0;
	tell(matching.length);
	figures();
}

// tell says how many there are. A screen reader reads it aloud half a second after somebody has changed the filters, and
// of what arrives by itself every half minute at most.
let telling;
function tell(matching) {
	let text = decisions.size === 0 ? "" : matching === decisions.size ? count(matching, "decision") : `${matching} of ${count(decisions.size, "decision")}`;
	if (state.waiting.length) text += `, paused: ${state.waiting.length} more`;
	if (byId("count").textContent !== text) byId("count").textContent = text;
	telling ??= setTimeout(() => {
		telling = undefined;
		if (byId("said").textContent !== byId("count").textContent) byId("said").textContent = byId("count").textContent;
	}, tell.asked ? 500 : 30000);
	tell.asked = false;
}

function figures() {
	const took = [...decisions.values()].filter((d) => d.decision !== "notice").map((d) => d.duration ?? 0).sort((a, b) => a - b);
	const at = (part) => (took.length ? duration(took[Math.min(took.length - 1, Math.floor(took.length * part))]) : "–");
	byId("figure-median").textContent = at(0.5);
	byId("figure-slow").textContent = at(0.95);
}

function showStatus(status) {
	const now = new Date(status.now);
	state.limit = status.limit ?? 0;

	const last = Math.floor(now / 60000);
	const minutes = new Map((status.minutes ?? []).map((m) => [Math.floor(new Date(m.at) / 60000), m]));
	let requests = 0, refused = 0, all = 0, allRefused = 0, top = 0;
	for (let n = 0; n < plotted; n++) {
		const m = minutes.get(last - n) ?? {};
		const [a, r] = [m.allowed ?? 0, m.refused ?? 0];
		all += a + r;
		allRefused += r;
		top = Math.max(top, a + r);
		if (n < 5) {
			requests += a + r;
			refused += r;
		}
	}
	byId("figure-requests").textContent = requests.toLocaleString("en");
	byId("figure-refused").textContent = refused.toLocaleString("en");
	byId("figure-refused").className = refused ? "bad" : "";

	const bars = [];
	const width = 600 / plotted;
	const bar = (className, n, y, height) => {
		const rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
		for (const [name, value] of Object.entries({ class: className, x: (plotted - 1 - n) * width + 2, y, width: width - 4, height })) {
			rect.setAttribute(name, value);
		}
		bars.push(rect);
	};
	for (let n = 0; n < plotted; n++) {
		const m = minutes.get(last - n) ?? {};
		const part = (value) => (value ? Math.max(3, (value / top) * 116) : 0);
		const [a, r] = [part(m.allowed), part(m.refused)];
		if (a) bar("allowed", n, 120 - a, a);
		if (r) bar("refused", n, 120 - a - r, r);
		if (!a && !r) bar("quiet", n, 118, 2);
	}
	const plot = byId("plot");
	plot.replaceChildren(...bars);
	plot.setAttribute("aria-label", all ? `${count(all, "request")} in the last ${plotted} minutes, ${allRefused} of them refused, at most ${top} in a minute.`
		: `No requests in the last ${plotted} minutes.`);
	byId("plot-top").textContent = top ? `highest: ${top.toLocaleString("en")} a minute` : "";

	byId("secrets").replaceChildren(...(status.secrets ?? []).map((use) => make("li", "",
		make("div", "row", make("span", "name", `${use.scheme} / ${use.key}`), time(use.last, ago(new Date(use.last), now))),
		make("small", "", `matched ${count(use.count ?? 0, "time")}`))));
	if (!status.secrets?.length) byId("secrets").append(make("li", "", make("small", "", "No secret has matched yet.")));

	const kinds = { ok: "good", unused: "quiet", stale: "warn", failing: "bad" };
	const health = status.health ?? [];
	byId("health").replaceChildren(...health.map((h) => make("li", "",
		make("div", "row", make("span", "name", h.name), make("span", "badge " + (kinds[h.state] ?? "quiet"), h.state)),
		make("small", "", [h.kind === "store" ? "store" : "key set", h.detail,
			h.last_ok ? "worked " + ago(new Date(h.last_ok), now) : "", h.last_error ? "failed " + ago(new Date(h.last_error), now) : "",
		].filter(Boolean).join(" · ")))));
	if (!health.length) byId("health").append(make("li", "", make("small", "", "This config uses none.")));
	const worst = ["failing", "stale"].find((s) => health.some((h) => h.state === s));
	byId("health-state").textContent = worst ?? "";
	byId("health-state").className = "badge " + (kinds[worst] ?? "");
}

function connection(name, text) {
	const element = byId("connection");
	if (element.dataset.state === name) return;
	element.dataset.state = name;
	element.textContent = text;
}

// What comes live is shown together, a few times a second at most.
const fresh = new Set();
let soon;
function arrived(d) {
	if (state.paused) {
		if (state.waiting.length < kept) state.waiting.push(d);
	} else if (add(d)) {
		fresh.add(d.id);
	}
	soon ??= setTimeout(() => {
		soon = undefined;
		render(new Set(fresh));
		fresh.clear();
	}, 200);
}

async function load() {
	const response = await fetch(`decisions?limit=${kept}`);
	if (!response.ok) throw new Error(`status ${response.status}`);
	for (const d of await response.json()) add(d);
	state.loaded = true;
	render();
}

function connect() {
	const source = new EventSource("decisions/stream?status");
	source.addEventListener("open", () => {
		connection("live", "Live");
		load().catch(() => connection("lost", "Not connected; trying again …"));
	});
	source.addEventListener("decision", (event) => arrived(JSON.parse(event.data)));
	source.addEventListener("status", (event) => {
		showStatus(JSON.parse(event.data));
		connection("live", "Live");
		render();
	});
	source.addEventListener("error", () => {
		connection("lost", "Not connected; trying again …");
		if (source.readyState === EventSource.CLOSED) setTimeout(connect, 5000); // refused, as by too many readers
	});
}

function filter() {
	state.shown = portion;
	tell.asked = true;
	clearTimeout(telling);
	telling = undefined;
	render();
}
filters.addEventListener("input", filter);
filters.addEventListener("reset", () => setTimeout(filter));
filters.addEventListener("submit", (event) => event.preventDefault());
byId("more").addEventListener("click", () => {
	state.shown += portion;
	render();
});
byId("pause").addEventListener("click", (event) => {
	state.paused = !state.paused;
	event.target.setAttribute("aria-pressed", state.paused);
	event.target.textContent = state.paused ? "Go on" : "Pause";
	if (!state.paused) {
		for (const d of state.waiting.splice(0)) arrived(d);
	}
	filter();
});

const wide = matchMedia("(width >= 1180px)").matches; // where they have a place of their own
byId("secrets-box").open = wide;
byId("health-box").open = wide;
connect();
