// What axe finds on a page, and what it can't judge.
import { axeSource } from "./browser.mjs";

// Runs in the page: the texts in pictures whose contrast is below 4.5:1, which axe does not judge.
function faintTextsInPictures() {
  const channels = (colour) => colour.match(/[\d.]+/g).map(Number);
  const luminance = (colour) => {
    const [red, green, blue] = channels(colour)
      .slice(0, 3)
      .map((value) => value / 255)
      .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const isOpaque = (colour) => colour.startsWith("rgb") && (channels(colour)[3] ?? 1) === 1;
  const behind = (text) => {
    const shape = text.parentElement.querySelector(":scope > rect");
    if (shape && isOpaque(getComputedStyle(shape).fill)) return getComputedStyle(shape).fill;
    for (let element = text; element; element = element.parentElement) {
      const { backgroundColor } = getComputedStyle(element);
      if (isOpaque(backgroundColor)) return backgroundColor;
    }
    return "rgb(255, 255, 255)";
  };
  return [...document.querySelectorAll("svg text")].flatMap((text) => {
    const [light, dark] = [getComputedStyle(text).fill, behind(text)].map(luminance).sort((a, b) => b - a);
    const contrast = (light + 0.05) / (dark + 0.05);
    return contrast < 4.5 ? [`color-contrast: ${contrast.toFixed(2)}:1 of "${text.textContent}" in a picture`] : [];
  });
}

// One text for each finding, of every severity, also those that axe leaves to people.
export async function findings(page) {
  await page.evaluate(axeSource);
  const found = await page.evaluate(async () => {
    const { violations, incomplete } = await globalThis.axe.run();
    const isText = ({ target }) => document.querySelector(target[0])?.matches("svg text");
    for (const rule of incomplete) {
      if (rule.id === "color-contrast") rule.nodes = rule.nodes.filter((node) => !isText(node));
    }
    return [...violations, ...incomplete.filter(({ nodes }) => nodes.length)];
  });
  const lines = found.map(({ id, impact, help, nodes }) => {
    const places = nodes.slice(0, 4).map(({ target, failureSummary, any }) => {
      const why = failureSummary ?? any.map(({ message }) => message).join("; ");
      return `\n    ${target.join(" ")}: ${why.replace(/\s+/g, " ")}`;
    });
    return `${id} (${impact}): ${help}${places.join("")}`;
  });
  return [...lines, ...(await page.evaluate(faintTextsInPictures))];
}
