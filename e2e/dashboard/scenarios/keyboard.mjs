// The main path with the keyboard alone: Tab, Shift and Tab, Enter, Space and arrows. What has the focus is visible.
import assert from "node:assert/strict";
import { row } from "../pages.mjs";

// Presses Tab until what has the focus has this name; fails after a round without it.
async function tabTo(page, name) {
  const passed = [];
  for (let presses = 0; presses < 120; presses += 1) {
    await page.keyboard.press("Tab");
    const at = await page.evaluate(() => {
      const element = document.activeElement;
      const label = element.labels?.[0]?.textContent ?? element.getAttribute("aria-label") ?? element.textContent;
      const style = getComputedStyle(element);
      const box = element.getBoundingClientRect();
      return {
        name: label.trim().replace(/\s+/g, " "),
        tag: element.tagName,
        isOutlined: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1,
        isShadowed: style.boxShadow !== "none",
        isInView: box.width > 0 && box.height > 0 && box.bottom > 0 && box.top < innerHeight,
      };
    });
    if (at.tag === "BODY") continue;
    passed.push(at.name);
    assert.ok(at.isInView, `the focus is not in view: ${at.tag} ${at.name}`);
    assert.ok(at.isOutlined || at.isShadowed, `the focus is not visible: ${at.tag} ${at.name}`);
    if (name instanceof RegExp ? name.test(at.name) : at.name === name) return;
  }
  assert.fail(`Tab does not reach ${name}: ${passed.join(" | ")}`);
}

export default async function (stage) {
  await stage.silo("office", { db: ["10.0.0.5"] });
  const page = await stage.page();
  const { keyboard } = page;

  stage.now("sign in");
  await page.goto("/dashboard/sign-in");
  // The field has the focus already.
  await page.locator("input:focus").waitFor();
  await keyboard.type(stage.token);
  await keyboard.press("Enter");
  await page.waitForURL("**/dashboard/");

  stage.now("the first stop leads to the content");
  await tabTo(page, /^Skip/);
  await keyboard.press("Enter");
  assert.equal(await page.evaluate(() => document.activeElement.id), "main");

  stage.now("open a silo");
  await tabTo(page, "office");
  await keyboard.press("Enter");
  await row(page, "db").waitFor();

  stage.now("add a record");
  if (!(await page.getByLabel("Hostname").first().isVisible())) {
    await tabTo(page, "Add a record");
    await keyboard.press("Enter");
  }
  await tabTo(page, "Hostname");
  await keyboard.type("web");
  await tabTo(page, /^IPv4/);
  await keyboard.type("10.0.0.9");
  await tabTo(page, "Add");
  await keyboard.press("Enter");
  await row(page, "web").getByText("10.0.0.9").waitFor();

  stage.now("change it");
  await tabTo(page, /^Edit web|^Edit$/);
  await keyboard.press("Enter");
  const save = page.getByRole("button", { name: "Save" });
  await save.waitFor();
  const hostname = await page.locator("form").filter({ has: save }).textContent();
  await tabTo(page, /^IPv4/);
  await keyboard.press("Control+A");
  await keyboard.type("10.0.0.99");
  await tabTo(page, "Save");
  await keyboard.press("Enter");
  await row(page, hostname.includes("web") ? "web" : "db").getByText("10.0.0.99").waitFor();

  stage.now("undo");
  await tabTo(page, "Undo");
  await keyboard.press("Enter");
  await page.getByText("10.0.0.99").first().waitFor({ state: "visible" }).catch(() => {});
  const records = await stage.records("office");
  assert.ok(!Object.values(records).flat().includes("10.0.0.99"), JSON.stringify(records));

  stage.now("sign out");
  await tabTo(page, /^Signed in as/);
  await keyboard.press("Enter");
  await tabTo(page, "Sign out");
  await keyboard.press("Enter");
  await page.waitForURL("**/dashboard/sign-in**");
}
