({
  // all gives the elements under root that match, those in open shadow roots
  // too. What stands behind ">>>" is looked for in the shadow roots of what
  // stands before it.
  all(selector, root) {
    const [outer, inner] = selector.split(/ >>> (.*)/)
    if (inner) return this.all(outer, root).flatMap(host => host.shadowRoot ? this.all(inner, host.shadowRoot) : [])
    const found = [...root.querySelectorAll(selector)]
    for (const element of root.querySelectorAll('*')) {
      if (element.shadowRoot) found.push(...this.all(selector, element.shadowRoot))
    }
    return found
  },

  find(selector) {
    const found = this.all(selector, document)
    return found.find(element => this.visible(element)) || found[0] || null
  },

  visible(element) {
    const box = element.getBoundingClientRect()
    return box.width > 0 && box.height > 0 && element.checkVisibility({ visibilityProperty: true, opacityProperty: true })
  },

  // text is what an element and the shadow roots in it show.
  text(element) {
    let text = element.innerText ?? element.textContent
    for (const host of [element, ...element.querySelectorAll('*')]) {
      if (!host.shadowRoot || !host.checkVisibility({ visibilityProperty: true })) continue
      for (const child of host.shadowRoot.children) {
        if (child.localName !== 'style') text += '\n' + this.text(child)
      }
    }
    return text
  },

  look(element) {
    let active = document.activeElement
    while (active?.shadowRoot?.activeElement) active = active.shadowRoot.activeElement
    return {
      Found: true,
      Visible: this.visible(element),
      Focused: active === element,
      Disabled: element.matches(':disabled') || element.getAttribute('aria-disabled') === 'true',
      Text: this.text(element),
      Value: element.value ?? '',
    }
  },

  // reach scrolls to an element and says where a mouse would click it, and what
  // stands in the way.
  reach(element) {
    element.scrollIntoView({ block: 'center', inline: 'nearest', behavior: 'instant' })
    const box = element.getBoundingClientRect()
    const x = box.x + box.width / 2, y = box.y + box.height / 2
    let hit = document.elementFromPoint(x, y)
    while (hit?.shadowRoot) {
      const inner = hit.shadowRoot.elementFromPoint(x, y)
      if (!inner || inner === hit) break
      hit = inner
    }
    let within = hit
    while (within && within !== element) within = within.parentNode ?? within.host
    const labels = hit?.closest?.('label')?.control === element
    const cover = within || labels ? '' : hit ? `<${hit.localName} class="${hit.className}">` : 'nothing that takes a click'
    return { ...this.look(element), X: x, Y: y, Cover: cover }
  },
})
