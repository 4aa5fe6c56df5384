// "I have kept my key": the last two symbols are compared here first, so that a
// slip costs no round trip.

const canonical = typed => typed.toUpperCase().replace(/[\s-]/g, '').replace(/O/g, '0').replace(/[IL]/g, '1')

const form = document.getElementById('saved')
const field = form.elements.last_two
const check = () => field.setCustomValidity(
  !field.value || canonical(field.value) === form.dataset.key ? '' : 'These are not the last two of your key. Read them again.')
field.addEventListener('input', check)
check()
