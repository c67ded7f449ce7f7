// The terminal makes its looks at run time, as <style> elements and style attributes, which the page's rules refuse: they
// become style sheets and properties instead, which no markup can be.

/** Has everything that is made from now on put its looks where the rules allow them. */
export function adoptStyles(): void {
  const create = document.createElement.bind(document);
  document.createElement = ((name: string, options?: ElementCreationOptions) => {
    if (name.toLowerCase() !== "style") return create(name, options);
    // Even an empty <style> is refused: what stands in its place does nothing.
    const element = create("template");
    const sheet = new CSSStyleSheet();
    document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
    Object.defineProperty(element, "textContent", { set: (text: string) => sheet.replaceSync(text) });
    return element;
  }) as typeof document.createElement;
  const set = Element.prototype.setAttribute;
  Element.prototype.setAttribute = function (this: Element, name: string, value: string) {
    if (name === "style" && this instanceof HTMLElement) this.style.cssText = value;
    else set.call(this, name, value);
  };
}
