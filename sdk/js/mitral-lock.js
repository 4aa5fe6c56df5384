// Mitral in the browser: heartbeat, lock curtain, emergency banner, step-up. How to use it: README.md.

const MINUTE = 59_500 // less what the timer of a hidden tab may be early
const SAFE = "No connection — your text is safe on this screen."
const tab = crypto.randomUUID()
const now = () => performance.now()

let el, root, base = "" // the element at work, its shadow root, where Mitral is
let mode = "" // "" while the page shows, else what the curtain says: asking, locked, offline, ended
let session, user, glass, wanted, offline, title, back, note = ""
let input = -Infinity, lastBeat = -Infinity, lastAsk = -Infinity, ticked, wall, tried
let idleAt = Infinity, warnAt = Infinity, endAt = Infinity, glassAt = Infinity, idle = 0
let leader, live, stream, bid, release, channel, asking, again, timer, off, travel = 0, seq = 0

const $ = (id) => root.getElementById(id)
const write = (id, text) => $(id).textContent === (text ||= "") || ($(id).textContent = text)
const tell = (...message) => channel.postMessage(message)
const signIn = () => `${base}/signin?callbackUrl=${encodeURIComponent(location.href)}&resume=0`
const clock = (ms, width) => {
	const s = Math.max(0, Math.ceil(ms / 1000))
	return `${Math.floor(s / 60)}`.padStart(width, 0) + ":" + `${s % 60}`.padStart(2, 0)
}

async function call(path, body, more) {
	const post = body && { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" } }
	const signal = AbortSignal.timeout(10_000)
	const r = await fetch(base + path, { credentials: "include", cache: "no-store", signal, ...post, ...more })
	return { ok: r.ok, status: r.status, data: await r.json().catch(() => null) }
}

function start(element) {
	el = element
	base = el.getAttribute("base") || ""
	ticked = now()
	wall = Date.now()
	off = new AbortController()
	const on = (target, names, act) =>
		names.split(" ").forEach((n) => target.addEventListener(n, act, { capture: true, passive: true, signal: off.signal }))
	draw(on)
	on(window, "keydown pointerdown touchstart wheel", (e) => e.isTrusted && active())
	on(window, "pointermove", (e) => e.isTrusted && (travel += Math.hypot(e.movementX, e.movementY)) > 30 && active())
	on(document, "visibilitychange", () => (tick(), document.hidden || ask()))
	on(document, "freeze", () => (cover("asking"), resign())) // so that it stands before the first paint afterwards
	on(document, "resume", woke)
	on(window, "pageshow", (e) => e.persisted && woke())
	on(window, "online", () => (leader && listen(), ask()))
	on(window, "offline", lost)
	on(window, "pagehide", (e) => {
		if (leader && !mode && input > lastBeat) beat({ keepalive: true }) // the next page can't know of it
		if (e.persisted) cover("asking")
		resign()
	})
	channel = new BroadcastChannel("mitral " + base)
	channel.onmessage = ({ data: [what, value] }) => {
		if (what === "input") (input = now()), tick()
		else if (what === "left") left(value)
		else if (what === "session") apply(value)
		else heard(what)
	}
	timer = setInterval(tick, 1_000)
	ask()
	elect()
}

function stop() {
	clearInterval(timer)
	off.abort()
	resign()
	lift()
	channel.close()
	el = null
}

// Of this origin's tabs only the leader beats and listens; the others report input to it.
function elect() {
	bid = new AbortController()
	const lead = (done) => ((release = done), (leader = true), listen(), mode || beat())
	navigator.locks.request("mitral " + base, { signal: bid.signal }, () => new Promise(lead)).catch(() => {})
}

function resign() {
	bid.abort()
	release?.()
	stream?.close()
	leader = live = false
}

function listen() {
	stream?.close()
	stream = new EventSource(base + "/api/v1/session/events", { withCredentials: true })
	tried = now()
	stream.onopen = () => ((live = true), ask())
	stream.onerror = () => (live = false)
	for (const what of ["locked", "unlocked", "ended", "changed"])
		stream.addEventListener(what, () => (tell(what), heard(what)))
}

function heard(what) {
	if (what === "locked") cover("locked")
	if (what === "ended") cover("asking")
	ask()
}

function woke() {
	cover("asking")
	input = -Infinity // an age measured across sleep would be too young
	ask()
	if (leader) return listen() // the old stream may be dead without knowing
	bid.abort()
	elect()
}

function active() {
	tick()
	if (mode) return
	const t = now()
	if (t - input > 1_000) tell("input")
	input = t
	travel = 0
	if (leader && t >= warnAt && t - lastBeat > 1_000) beat()
}

async function beat(more) {
	const t = (lastBeat = now())
	const age = Math.round(Math.min(t - input, 864e5)) // a day: no input seen
	travel = 0
	const body = { tab, seq: ++seq, visible: !document.hidden, input_age_ms: age }
	const { ok, status, data } = await call("/api/v1/session/heartbeat", body, more).catch(() => ({ status: more ? 0 : 503 }))
	if (ok) {
		const seconds = [data.idle_left_s, data.state === "warning" ? 0 : data.warn_in_s, data.absolute_left_s]
		left(seconds)
		tell("left", seconds)
	} else if (status === 423) heard("locked")
	else if (status === 401) heard("ended")
	else if (status >= 500) lost()
}

function left(seconds) {
	;[idleAt, warnAt, endAt] = seconds.map((s) => now() + s * 1_000)
	idle = Math.max(idle, seconds[0] * 1_000)
	offline = false
	tick()
}

async function ask() {
	again = true // an answer on its way may be older than what was heard
	while (again && !asking && el) {
		again = false
		asking = true
		lastAsk = now()
		const r = await call("/api/v1/auth/session").catch(() => {})
		asking = false
		if (!el || again) continue
		if (!r?.ok) lost()
		else apply(r.data), leader && tell("session", r.data)
	}
}

function lost() {
	offline = true
	if (mode === "asking") cover("offline")
}

function apply(s) {
	const m = s?.mitral
	if (m && user && s.user.id !== user) {
		document.body.replaceChildren() // another person's now: the draft goes, and the page is asked for anew
		return location.reload()
	}
	offline = false
	session = s
	user = s?.user?.id || user
	if (glass && !m) note = "Emergency access has ended."
	glass = m?.break_glass
	glassAt = glass ? now() + glass.remaining_s * 1_000 : Infinity
	if (m?.state === "locked") (wanted = false), cover("locked")
	else if (m && wanted) lock()
	else if (m) lift()
	else cover("ended")
	tick()
	emit()
}

const emit = () => el.dispatchEvent(new CustomEvent("mitral-state", { bubbles: true, detail: { state: mode || "active", session } }))

/** Locks the session, here and wherever it is open. The page and its text stay. */
export async function lock() {
	wanted = true // outlives a lost connection
	cover("asking")
	const r = await call("/api/v1/session/lock", {}).catch(() => {})
	if (r?.status < 500) wanted = false
	tell("locked")
	r?.ok ? apply(r.data) : ask()
}

async function unlock(pin) {
	const r = await call("/api/v1/session/unlock", { method: "pin", pin })
	if (!r.ok) return (note = why(r)), await ask(), note
	apply(r.data)
	tell("unlocked")
}

async function signOut() {
	const headers = { "X-Auth-Return-Redirect": "1" }
	const post = ({ data }) => ({ method: "POST", headers, body: new URLSearchParams({ ...data, callbackUrl: "/signin", json: true }) })
	const out = await call("/api/v1/auth/csrf").then((csrf) => call("/api/v1/auth/signout", null, post(csrf))).catch(() => {})
	if (!out?.ok) return write("note", "You are not signed out yet. Try again.")
	tell("ended")
	location.assign(base + "/signin")
}

async function end() {
	await call(`/api/v1/break-glass/${encodeURIComponent(glass.id)}/end`, {}).catch(() => {})
	tell("ended")
	heard("ended")
}

function tick() {
	const t = now()
	const gap = Math.max(t - ticked, Date.now() - wall) // some machines stop one of the two clocks while asleep
	ticked = t
	wall = Date.now()
	if (gap > 90_000) woke()
	const quick = leader && (!live || offline || mode === "ended")
	const pace = quick ? 1_500 : mode ? 10_000 : leader ? MINUTE : Infinity
	if (t - lastAsk > pace && (leader || !document.hidden)) ask()
	if (leader && stream.readyState === 2 && mode !== "ended" && t - tried > 15_000) listen()
	if (!mode) {
		const news = input > lastBeat && t >= warnAt && !offline
		if (leader && (news || t - lastBeat >= MINUTE)) beat()
		const until = offline ? Math.max(idleAt, input + idle) : idleAt
		if (t >= Math.min(until, endAt, glassAt) + 1_000) cover(offline ? "offline" : "asking"), ask()
	}
	if (mode && document.activeElement !== el) raise() // the page opened a dialog of its own above the curtain
	paint(t)
}

// The bar and the banner, each second; spoken once a stage, not once a second.
function paint(t) {
	const stage = (at, ...minutes) => minutes.find((m) => m === Math.ceil((at - t) / 60_000))
	const soon = (what, m) => `${what} ends in ${m} minute${m > 1 ? "s" : ""}.`
	const warns = t >= warnAt && (!leader || input <= lastBeat)
	const last = warns && idleAt - t <= 20_000
	const over = !glass && stage(endAt, 1, 5, 15)
	const near = glass && stage(glassAt, 1, 5, 10)
	let text, say = near && soon("Emergency access", near)
	if (mode) say = ""
	else if (offline) text = say = SAFE
	else if (warns) {
		text = `Locks in ${clock(idleAt - t)}. Nothing will be lost.`
		say = `Locks ${last ? "in 20 seconds" : "soon"}. Nothing will be lost. Press any key to keep working.`
	} else if (over) {
		text = `Your session ends in ${clock(endAt - t)}. Your text stays on this screen.`
		say = soon("Your session", over)
	}
	const kept = mode === "locked" && Date.parse(session?.mitral?.lock_expires_at)
	write("says", mode && SAYS[mode][1] + (kept ? ` Kept until ${new Date(kept).toLocaleTimeString([], { timeStyle: "short" })}.` : ""))
	write("text", text)
	write("voice", say)
	write("ref", glass?.ref)
	write("left", clock(glassAt - t, 2))
	$("bar").hidden = !text
	$("stay").hidden = !warns
	$("renew").hidden = !over || warns || offline
	$("renew").href = signIn()
	$("bar").setAttribute("role", last ? "alertdialog" : "group")
	const banner = $("glass")
	const { style } = document.documentElement
	if (!banner.hidden) style.paddingTop = style.scrollPaddingTop = ""
	banner.hidden = !glass || el.getAttribute("banner") === "off"
	if (!banner.hidden) style.paddingTop = style.scrollPaddingTop = banner.offsetHeight + "px"
}

// The page stays as it is, out of sight and reach, under the curtain.
function cover(next) {
	if (mode === next || (mode && next === "asking")) return
	if (!mode) {
		title = document.title
		back = document.activeElement
		document.title = "Locked"
		raise()
		hide(true)
	}
	mode = next
	furnish()
	paint(now())
	emit()
}

function lift() {
	if (!mode) return
	mode = note = ""
	hide(false)
	$("curtain").close()
	$("pin").replaceChildren()
	if (document.title === "Locked") document.title = title
	back?.focus?.({ preventScroll: true })
	idleAt = now() + (idle || Infinity)
	warnAt = endAt = Infinity
	if (leader) beat()
}

function raise() {
	$("curtain").close()
	$("curtain").showModal()
	$("pin").elements.pin?.focus()
}

function hide(on) {
	document.body.inert = on
	document.documentElement.toggleAttribute("mitral-covered", on)
}

function furnish() {
	const [heading, , ...parts] = SAYS[mode]
	write("what", heading)
	write("note", mode === "ended" ? note : "")
	for (const id of ["pin", "links", "return", "retry"]) $(id).hidden = !parts.includes(id)
	$("return").href = $("other").href = signIn()
	$("help").href = base + "/emergency"
	const name = session?.user?.name?.split(" ")[0]
	if (mode === "locked") pinForm($("pin"), name ? name + ", enter your PIN" : "Enter your PIN", unlock)
	else $("what").focus()
}

// What a refusal means, in words that say the next step.
function why({ data }) {
	const n = data?.tries_left
	return n ? `Wrong PIN. ${n} ${n > 1 ? "tries" : "try"} left.` : data?.detail || "That did not work. Try again."
}

// One PIN field whose last digit submits, with a pad for gloves. send(pin) answers what went wrong, or nothing.
function pinForm(form, label, send) {
	const length = session?.mitral?.pin_length || 4
	form.innerHTML = PIN
	const field = form.querySelector("input")
	const [name, says] = form.querySelectorAll("span,p")
	name.textContent = `${label} (${length} digits)`
	const put = (value) => {
		if (!field.readOnly) field.value = value.replace(/\D/g, "").slice(0, length)
		if (field.value.length === length) form.onsubmit()
	}
	form.onsubmit = async (e) => {
		e?.preventDefault()
		if (field.readOnly || field.value.length < length) return
		field.readOnly = true
		says.textContent = "Checking…"
		says.textContent = (await send(field.value).catch(() => SAFE + " Try again.")) || ""
		field.readOnly = false
		field.value = ""
		field.focus()
	}
	field.oninput = () => put(field.value)
	form.onmousedown = (e) => e.target === field || e.preventDefault() // the field keeps the focus
	form.onclick = ({ target: { type, value } }) => type === "button" && put(value ? field.value + value : field.value.slice(0, -1))
	field.focus()
}

/** Asks for the PIN to confirm an action. Resolves to {step_up_token, expires_at}; an AbortError when cancelled. */
export function stepUp({ action, summary, txHash }) {
	if (!el) document.body.append(document.createElement("mitral-lock"))
	if (mode) return Promise.reject(new DOMException("Locked.", "AbortError"))
	const dialog = $("ask")
	write("act", "Confirm: " + action.replaceAll("_", " "))
	write("about", summary)
	dialog.showModal()
	return new Promise((resolve, reject) => {
		let token
		pinForm($("confirm"), "Your PIN", async (pin) => {
			const r = await call("/api/v1/session/step-up", { action, summary, tx_hash: txHash, method: "pin", pin })
			if (!r.ok) return ask(), why(r)
			token = r.data
			dialog.close()
		})
		dialog.onclose = () => {
			$("confirm").replaceChildren()
			token ? resolve(token) : reject(new DOMException("Not confirmed.", "AbortError"))
		}
	})
}

/** Like fetch; asked to re-authenticate (RFC 9470) it does, once, the token in header Mitral-Step-Up. */
export async function fetchWithStepUp(url, init = {}, about = {}) {
	const r = await fetch(url, init)
	const told = r.status === 401 && (await r.clone().json().catch(() => {}))
	if (told?.code !== "insufficient_user_authentication") return r
	const { step_up_token } = await stepUp({ action: told.action, summary: told.summary, txHash: told.tx_hash, ...about })
	const headers = new Headers(init.headers)
	headers.set("Mitral-Step-Up", step_up_token)
	return fetch(url, { ...init, headers })
}

const SAYS = {
	asking: ["One moment", "Checking that you are still signed in. Your text is safe."],
	offline: ["Offline", SAFE + " It opens again when the connection is back.", "retry"],
	ended: ["Signed out", "Your text is still on this screen. Sign-in opens beside it.", "return"],
	locked: ["Locked", "Nothing is lost. Another person’s sign-in closes this work.", "pin", "links"],
}
// All markup is constant; names and texts are set as text.
const digit = (d) => `<button type=button value=${d}>${d}</button>`
const PIN = `<label><span></span><input name=pin type=password inputmode=numeric autocomplete=off data-1p-ignore></label><p role=alert></p>
<div id=pad>${[..."123456789"].map(digit).join("")}<button type=button aria-label="Back one digit">⌫</button>${digit(0)}<button aria-label=Enter>↵</button></div>`
const FRAME = `<div id=glass hidden><strong>EMERGENCY ACCESS</strong><span id=ref></span>
<span><b id=left role=timer></b> left</span><button data-do=end>End</button></div>
<div id=bar aria-labelledby=text hidden><p id=text></p><button id=stay data-do=active>Keep working</button><a id=renew target=_blank>Sign in again now</a></div>
<p id=voice aria-live=polite></p>
<dialog id=ask class=card aria-labelledby=act><h1 id=act></h1><p id=about></p><form id=confirm></form><button data-do=cancel>Cancel</button></dialog>
<dialog id=curtain closedby=none aria-labelledby=what><div class=card><h1 id=what tabindex=-1></h1><p id=says></p><p id=note role=alert></p>
<form id=pin></form><a id=return target=_blank>Sign in again</a><button id=retry data-do=ask>Try again</button>
<div id=links><button data-do=signOut>Sign out</button><a id=other target=_blank>Someone else</a><a id=help target=_blank>Emergency access</a></div></div></dialog>`

function draw(on) {
	root = el.shadowRoot || el.attachShadow({ mode: "open" })
	root.adoptedStyleSheets = [look]
	root.innerHTML = FRAME
	const acts = { ask, signOut, end, active, cancel: () => $("ask").close() }
	on(root, "click", (e) => acts[e.target.dataset.do]?.())
	$("curtain").oncancel = (e) => e.preventDefault()
	$("curtain").onclose = () => mode && !$("curtain").open && raise()
}

const under = new CSSStyleSheet()
under.replaceSync("[mitral-covered]>body,[mitral-covered]>body *{visibility:hidden!important}")
document.adoptedStyleSheets = [...document.adoptedStyleSheets, under]
const look = new CSSStyleSheet()
look.replaceSync(`:host{all:initial;--bg:#eeebe3;--card:#fffdf8;--ink:#12282c;--soft:#475b5e;--go:#0b5a60;--red:#a01218}
@media (prefers-color-scheme:dark){:host{--bg:#0b1719;--card:#14262a;--ink:#eef4f2;--soft:#b3c3c3;--go:#7fd0cb;--red:#ff9a94}}
*{box-sizing:border-box;margin:0;font:400 1rem/1.45 system-ui,sans-serif;color:var(--ink)}
[hidden],dialog:not([open]),p:empty{display:none!important}
h1{font-weight:650;font-size:1.6rem;line-height:1.2;outline:0!important}
p{color:var(--soft)}[role=alert]{color:var(--red);font-weight:600}
button,a,input{display:inline-grid;place-items:center;min-height:44px;padding:.3rem .9rem;border:1px solid #758486;border-radius:10px;background:var(--card);text-decoration:none;font-weight:600}
:focus-visible{outline:3px solid var(--go);outline-offset:2px}
#return{background:var(--go);color:var(--bg)}#help{color:var(--red);border:2px solid}
#curtain{visibility:visible;min-width:100%;min-height:100%;border:0;padding:1rem;background:var(--bg)}
#curtain[open]{display:grid;place-items:center}#ask{margin:auto;width:calc(100% - 1rem)}#ask::backdrop{background:#0b1719b3}
.card{display:grid;gap:1rem;width:100%;max-width:25rem;padding:1.5rem;border:1px solid #7584864d;border-radius:18px;background:var(--card)}
form,label{display:grid;gap:.6rem}label span{font-weight:600}
input{width:100%;height:56px;font-size:1.6rem;letter-spacing:.5em}
#pad{display:grid;grid-template-columns:repeat(3,1fr);gap:8px}#pad *{min-height:56px;font-size:1.25rem}
#links,#bar,#glass{display:flex;flex-wrap:wrap;gap:8px 1rem;align-items:center}#links *{flex:auto}
#bar,#glass,#voice{position:fixed;z-index:2147483647}#voice{clip-path:inset(50%)}
#bar{inset:auto 0 1rem;width:fit-content;max-width:95%;margin:auto;padding:.6rem 1rem;border:2px solid var(--go);border-radius:14px;background:var(--card)}
#glass button{border-color:#fff}#bar p,#glass *{color:var(--ink);font-weight:600;font-variant-numeric:tabular-nums}
#glass{inset:0 0 auto;justify-content:center;padding:.3rem 3rem;border-bottom:2px solid #fff;background:#a01218;--ink:#fff;--card:#a01218;--go:#fff}
#glass::before,#glass::after{content:"";position:absolute;inset:0 auto 0 0;width:2rem;background:repeating-linear-gradient(135deg,#fff 0 9px,#a01218 9px 20px)}#glass::after{inset:0 0 0 auto}`)

class MitralLock extends HTMLElement {
	connectedCallback() {
		el || start(this)
	}
	disconnectedCallback() {
		el === this && stop()
	}
}
customElements.define("mitral-lock", MitralLock)
