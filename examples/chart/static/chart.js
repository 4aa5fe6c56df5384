// The chart's own script. Heartbeat, curtain and step-up are the SDK's.
import { lock, fetchWithStepUp } from "/sdk/mitral-lock.js"

const $ = (id) => document.getElementById(id)
const say = (text) => ($("says").textContent = text)

// Takes a form's submit over. act answers a sentence to show, or nothing.
function instead(id, act) {
	$(id)?.addEventListener("submit", async (e) => {
		e.preventDefault()
		const button = e.submitter
		button.setAttribute("aria-busy", "true")
		say((await act(e).catch((why) => (why.name === "AbortError" ? "Cancelled. Nothing was done." : "No connection. Your text is still here."))) || "")
		button.removeAttribute("aria-busy")
	})
}

const post = (url, body) => ({ url, init: { method: "POST", headers: { Accept: "application/json" }, body } })
const send = ({ url, init }) => fetchWithStepUp(url, init)
const sentence = async (r) => (await r.json().catch(() => ({}))).message || "That did not work. Try again."

instead("lock", async () => lock())
instead("end", async (e) => sentence(await send(post(e.target.action))))

instead("export", async (e) => {
	const r = await send(post(e.target.action))
	if (!r.ok) return sentence(r)
	const file = URL.createObjectURL(await r.blob())
	const [, name = "chart.csv"] = /filename="?([^";]+)/.exec(r.headers.get("Content-Disposition")) || []
	Object.assign(document.createElement("a"), { href: file, download: name }).click()
	setTimeout(() => URL.revokeObjectURL(file), 10_000)
	return "Exported."
})

instead("save", async (e) => {
	const note = $("note")
	const written = note.value
	const deletes = e.submitter.id === "delete"
	const url = deletes ? e.submitter.formAction : e.target.action
	const r = await send(post(url, new URLSearchParams(deletes ? {} : { note: written })))
	if (deletes && r.ok && note.value === written) note.value = ""
	return sentence(r)
})
$("note")?.addEventListener("input", () => say("Not saved yet."))

// The emergency banner runs down by this page's own clock and follows grants that open or end meanwhile.
const [banner, ref, left] = ["emergency", "ref", "left"].map($)
let until = banner.dataset.left * 1000 + performance.now()
const run = () => {
	const s = Math.max(0, Math.ceil((until - performance.now()) / 1000))
	const two = (n) => String(n).padStart(2, "0")
	if (!banner.hidden) left.textContent = `${two(Math.floor(s / 60))}:${two(s % 60)}`
}
run()
setInterval(run, 1000)
document.addEventListener("mitral-state", ({ detail: { state, session } }) => {
	if (state !== "active") return
	const grant = session?.mitral?.break_glass
	banner.hidden = !grant
	if (!grant) return
	ref.textContent = grant.ref
	until = performance.now() + grant.remaining_s * 1000
	run()
})
