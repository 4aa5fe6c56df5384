// Timers that run down. The server said how many seconds are left; the page
// counts them on its own clock, which no change of the computer's time moves.
// They are silent but for 10, 5 and 1 minute.

const say = words => document.dispatchEvent(new CustomEvent('mitral:say', { detail: words }))
const aloud = { 600: '10 minutes left', 300: '5 minutes left', 60: '1 minute left' }

for (const timer of document.querySelectorAll('[role=timer]')) {
  const left = Number(timer.dataset.left)
  const began = performance.now()
  let shown = left

  const tick = setInterval(() => {
    const now = Math.max(0, Math.ceil(left - (performance.now() - began) / 1000))
    if (now === shown) return
    if ('plain' in timer.dataset) timer.textContent = now === 1 ? '1 second' : `${now} seconds`
    else {
      timer.textContent = `${String(Math.floor(now / 60)).padStart(2, '0')}:${String(now % 60).padStart(2, '0')}`
      for (const mark in aloud) if (shown > mark && now <= mark) say(aloud[mark])
    }
    shown = now
    if (now) return
    clearInterval(tick)
    const wait = timer.closest('[data-wait]')
    if (wait) {
      wait.textContent = 'You can try again now.'
      say(wait.textContent)
    }
    if (timer.dataset.to) location.assign(timer.dataset.to)
  }, 250)
}
