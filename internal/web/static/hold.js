// Hold-to-confirm: a press that lasts, or Enter twice. A short click does
// nothing but say so.

const say = words => document.dispatchEvent(new CustomEvent('mitral:say', { detail: words }))

for (const button of document.querySelectorAll('[data-hold]')) {
  const words = button.textContent
  let holding, resting, entered

  const tell = text => {
    button.textContent = text
    say(text)
    clearTimeout(resting)
    resting = setTimeout(() => {
      entered = false
      button.textContent = words
    }, 6000)
  }
  const send = () => button.form.requestSubmit(button)
  const release = () => {
    clearTimeout(holding)
    delete button.dataset.on
  }

  button.addEventListener('pointerdown', event => {
    if (event.button) return
    button.dataset.on = ''
    holding = setTimeout(() => {
      release()
      send()
    }, Number(button.dataset.hold))
  })
  for (const end of ['pointerup', 'pointerleave', 'pointercancel']) button.addEventListener(end, release)
  button.addEventListener('contextmenu', event => event.preventDefault())
  button.addEventListener('keydown', event => {
    if (event.repeat) event.preventDefault()
  })
  button.addEventListener('click', event => {
    event.preventDefault()
    if (button.form.ariaBusy === 'true') return
    if (event.detail) return tell('Keep holding, or press Enter twice')
    if (entered) return send()
    entered = true
    tell('Press Enter again to confirm')
  })
  // Enter in a text field must not open it by accident.
  button.form.addEventListener('keydown', event => {
    if (event.key === 'Enter' && event.target.matches('input')) {
      event.preventDefault()
      button.focus()
    }
  })
}
