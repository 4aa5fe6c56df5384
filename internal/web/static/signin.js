// The sign-in form: checks the key's check symbol before anything is sent, so
// that a typing error is never a failed attempt; then asks for the PIN on the
// same page. Written for hands, password managers and bar code scanners alike.

const symbols = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'

// canonical reads what was typed as Crockford symbols.
const canonical = key => key.toUpperCase().replace(/[\s-]/g, '').replace(/O/g, '0').replace(/[IL]/g, '1')

// checkSymbol is the weighted sum of the data symbols in GF(32), x⁵+x²+1, α = 2.
function checkSymbol(data) {
  let sum = 0
  for (const symbol of [...data].reverse()) {
    sum = (sum ^ symbols.indexOf(symbol)) << 1
    if (sum & 32) sum ^= 37
  }
  return symbols[sum]
}

// wrongWith says what is wrong with a key, or ''.
function wrongWith(typed, typo) {
  const key = canonical(typed)
  const odd = [...key].find(s => !symbols.includes(s))
  if (odd) return `Check the key: “${odd}” is in no key.`
  if (key.length !== 14) return `A key has 14 letters and numbers; this one has ${key.length}.`
  return checkSymbol(key.slice(0, -1)) === key.at(-1) ? '' : typo
}

const form = document.getElementById('signin')

function complain(field, words) {
  const id = field.id + '-wrong'
  let line = document.getElementById(id)
  if (!words) {
    line?.remove()
    field.removeAttribute('aria-invalid')
    return
  }
  if (!line) {
    line = Object.assign(document.createElement('p'), { id, className: 'wrong' })
    line.setAttribute('role', 'alert')
    field.closest('.field').append(line)
    field.setAttribute('aria-describedby', `${id} ${field.getAttribute('aria-describedby') ?? ''}`.trim())
  }
  line.textContent = words
  field.setAttribute('aria-invalid', 'true')
  field.focus()
}

// A scanner may send the whole card into one field.
function split() {
  const [identifier, key] = form.identifier.value.split('\t')
  if (key === undefined) return
  form.identifier.value = identifier
  form.key.value = key.trim()
}

function askPIN() {
  const first = form.querySelector('[data-step=key]')
  first.hidden = true
  first.after(form.querySelector('template').content.cloneNode(true))
  const second = first.nextElementSibling
  second.querySelector('[data-for]').textContent = form.identifier.value.trim()
  second.querySelector('[data-back]').onclick = () => {
    second.remove()
    first.hidden = false
    form.identifier.focus()
  }
  second.dispatchEvent(new Event('mitral:added', { bubbles: true }))
  form.pin.focus()
}

if (form) {
  form.noValidate = true
  form.addEventListener('submit', event => {
    if (form.pin) {
      if (form.pin.value.length < form.pin.dataset.pin) {
        event.preventDefault()
        form.pin.focus()
      }
      return
    }
    event.preventDefault()
    split()
    if (!form.identifier.value.trim()) return form.identifier.focus()
    if (!form.key.value.trim()) return form.key.focus()
    const words = wrongWith(form.key.value, form.dataset.typo)
    complain(form.key, words)
    if (!words) askPIN()
  })
  form.key.addEventListener('input', () => complain(form.key, ''))
  // A card scanned while nothing has the focus goes where it belongs.
  document.addEventListener('keydown', event => {
    if (event.key.length === 1 && document.activeElement === document.body) form.identifier.focus()
  })
}
