// SPDX-License-Identifier: GPL-3.0-or-later
// The contrast of every text that is seen, and of what carries meaning without text, to what is behind it: the
// ratio of their luminances, as WCAG 2.2 computes it. `least` is what AA asks for.
() => {
  const channel = (value) => ((value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
  const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const ground = (element) => {
    for (; element; element = element.parentElement) {
      const colour = rgba(getComputedStyle(element).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255, 255];
  };
  const ratio = (a, b) => {
    const [dark, light] = [luminance(a), luminance(b)].sort((x, y) => x - y);
    return (light + 0.05) / (dark + 0.05);
  };
  const found = [];
  const add = (what, colour, behind, least) =>
    found.push({ what, least, ratio: Math.round(ratio(rgba(colour), behind) * 100) / 100 });
  for (const element of document.querySelectorAll("body *")) {
    if (!element.checkVisibility({ visibilityProperty: true, opacityProperty: true })) continue;
    const style = getComputedStyle(element);
    const texts = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (texts && !element.closest(".hidden-text")) add(element.textContent.slice(0, 40), style.color, ground(element), 4.5);
    if (element.matches(".badge > svg, .chip > svg")) add(`icon ${element.parentElement.textContent}`, style.color, ground(element), 3);
    if (element.matches("input, select, .tools button")) add(`edge of ${element.id}`, style.borderTopColor, ground(element.parentElement), 3);
    if (element.matches(".fill, .dot")) add(`ground of ${element.className}`, style.backgroundColor, ground(element.parentElement), 3);
  }
  add("focus", getComputedStyle(document.documentElement).getPropertyValue("--focus"), ground(document.body), 3);
  return found;
}
