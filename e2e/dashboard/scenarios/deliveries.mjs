// A delivery that the receiver refused: why in words, and tried again from the page.
import { button, link, notice, signIn } from "../pages.mjs";
import { until } from "../stage.mjs";

export default async function (stage) {
  const page = await stage.page();
  await signIn(page, stage.token);
  await link(page.getByRole("navigation"), "Deliveries").click();

  stage.now("a failure appears on the open page");
  await stage.record("office", "db", { ip: "10.0.0.5" });
  const again = page.getByRole("button", { name: /^Try again/ });
  await again.waitFor();
  const failed = page.getByRole("row").filter({ has: again });
  await failed.getByText(/410/).first().waitFor();
  await link(failed, "office").waitFor();

  stage.now("the start page asks for a hand");
  const start = await page.context().newPage();
  await start.goto("/dashboard/");
  await start.getByRole("region", { name: "Needs a hand" }).getByText(/hook/).waitFor();

  stage.now("it is tried again, and arrives");
  await again.click();
  await notice(page).waitFor();
  await until("the receiver takes it", async () => {
    const { answered } = await stage.ask("messages");
    return answered.length === 2 && answered[1] === 204;
  });
  await button(page, /^Try again/).waitFor({ state: "detached" });
  await page.getByText(/^done$|delivered/i).first().waitFor();
  await start.getByRole("region", { name: "Needs a hand" }).waitFor({ state: "detached" });
}
