// What every page does beyond its HTML: show and hide secrets, copy, print, PIN
// fields and their pad, and one post a form. Controls that need this module are
// hidden until it runs.

const all = (selector, root = document) => root.querySelectorAll(selector)
const said = document.getElementById('say')
let quiet

// say shows a few words for a while, and has a screen reader read them.
function say(words) {
  said.textContent = words
  clearTimeout(quiet)
  quiet = setTimeout(() => { said.textContent = '' }, 6000)
}
document.addEventListener('mitral:say', event => say(event.detail))

function reveal(button) {
  const field = document.getElementById(button.dataset.reveal)
  const shown = field.type === 'password'
  field.type = shown ? 'text' : 'password'
  button.setAttribute('aria-pressed', shown)
  button.firstChild.data = shown ? 'Hide' : 'Show'
}

async function copy(button) {
  const from = document.getElementById(button.dataset.copy)
  await navigator.clipboard.writeText((from.value ?? from.textContent).trim())
  say('Copied')
  const label = button.textContent
  button.textContent = 'Copied'
  setTimeout(() => { button.textContent = label }, 2000)
}

function press(field, what) {
  if (what === 'clear') field.value = ''
  else if (what === 'back') field.value = field.value.slice(0, -1)
  else field.value += what
  field.dispatchEvent(new Event('input', { bubbles: true }))
}

document.addEventListener('click', event => {
  const button = event.target.closest('[data-reveal],[data-copy],[data-print],[data-digit]')
  if (!button) return
  if (button.dataset.reveal) reveal(button)
  else if (button.dataset.copy) copy(button)
  else if (button.dataset.digit) press(document.getElementById(button.parentNode.dataset.pad), button.dataset.digit)
  else print()
})

document.addEventListener('input', event => {
  const field = event.target
  if (!field.dataset.pin) return
  const length = Number(field.dataset.pin)
  const digits = field.value.replace(/\D/g, '').slice(0, length)
  if (digits !== field.value) field.value = digits
  if (digits.length === length && 'auto' in field.dataset) field.form.requestSubmit()
})

// A second post while the first is under way would count as a second try.
document.addEventListener('submit', event => {
  const form = event.target
  if (event.defaultPrevented || form.method !== 'post') return
  if (form.ariaBusy === 'true') return event.preventDefault()
  form.ariaBusy = 'true'
  const button = event.submitter ?? [...all('.primary', form)].at(-1)
  button?.setAttribute('aria-busy', 'true')
})
addEventListener('pageshow', () => all('[aria-busy=true]').forEach(e => e.removeAttribute('aria-busy')))

function wake(root) {
  all('[data-reveal],[data-copy],[data-print],[data-pad]', root).forEach(e => { e.hidden = false })
}
wake(document)
document.addEventListener('mitral:added', event => wake(event.target))

for (const field of all('[data-zone]')) {
  field.value ||= Intl.DateTimeFormat().resolvedOptions().timeZone
}
