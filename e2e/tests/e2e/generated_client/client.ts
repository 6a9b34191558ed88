// A client made from the hub's OpenAPI document; hub.ts has its types.
import createClient from "openapi-fetch";
import type { components, paths } from "./hub.js";

const hub = createClient<paths>({
  baseUrl: process.env.HUB!,
  headers: { Authorization: `Bearer ${process.env.TOKEN}` },
});
type Silo = components["schemas"]["SiloDocument"];
const silo = { params: { path: { id: "office" } } };
const words = (records: components["schemas"]["DnsRecord"][]) =>
  records.map((record) => `${record.hostname} ${record.ip}`).join(", ");

const created = await hub.PUT("/silos/{id}", { ...silo, body: { dnsrecords: [{ hostname: "db", ip: "10.0.0.5" }] } });
console.log("PUT", created.response.status, words(created.data!.dnsrecords));
await hub.PUT("/silos/{id}/records/{hostname}", {
  params: { path: { id: "office", hostname: "db" } },
  body: { ips: ["10.0.0.5", "fd00::5"] },
});
const read = await hub.GET("/silos/{id}", silo);
// With another `format` it would be a text.
console.log("GET", read.response.status, words((read.data as Silo).dnsrecords));
const tag = read.response.headers.get("etag")!;
const again = await hub.GET("/silos/{id}", { params: { ...silo.params, header: { "If-None-Match": tag } } });
console.log("GET", again.response.status);
const wrong = await hub.PUT("/silos/{id}", { ...silo, body: { dnsrecords: [{ hostname: "db", ip: "10.0.0" }] } });
console.log("PUT", wrong.response.status, wrong.error!.errors![0]!.pointer);
const record = await hub.PUT("/silos/{id}/records/{hostname}", {
  params: { path: { id: "office", hostname: "db" } },
  body: { ip6: "fd00::7", ip4: null },
});
console.log("PUT", record.response.status, record.data!.ips.join(" "));
const deleted = await hub.DELETE("/silos/{id}", silo);
console.log("DELETE", deleted.response.status);
const gone = await hub.GET("/silos/{id}", silo);
console.log("GET", gone.response.status, gone.error!.type);
