// A hub's API, for what scenarios and scripts prepare and check.
import assert from "node:assert/strict";

export class Hub {
  constructor(url, token) {
    this.url = url;
    this.token = token;
  }

  // A call of the API; answers status, headers and body.
  async api(method, path, body, { token = this.token, headers = {} } = {}) {
    const type = body === undefined ? {} : { "content-type": "application/json" };
    const answer = await fetch(this.url + path, {
      method,
      headers: { authorization: `Bearer ${token}`, ...type, ...headers },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const text = await answer.text();
    return { status: answer.status, headers: answer.headers, body: text && JSON.parse(text) };
  }

  // Like `api`, and must succeed; answers the body.
  async done(method, path, body, options) {
    const answer = await this.api(method, path, body, options);
    assert.ok(answer.status < 300, `${method} ${path}: ${answer.status} ${JSON.stringify(answer.body)}`);
    return answer.body;
  }

  // A new token with these properties; answers its document, with the secret.
  newToken(spec) {
    return this.done("POST", "/tokens", spec);
  }

  // Sets a record.
  record(silo, hostname, values, options) {
    return this.done("PUT", `/silos/${silo}/records/${hostname}`, values, options);
  }

  // Replaces a silo: {hostname: [address…]}.
  silo(id, hosts, options) {
    const dnsrecords = Object.entries(hosts).flatMap(([hostname, ips]) => ips.map((ip) => ({ hostname, ip })));
    return this.done("PUT", `/silos/${id}`, { dnsrecords }, options);
  }

  // The records of a silo, as {hostname: [address…]}.
  async records(silo) {
    const list = await this.done("GET", `/silos/${silo}/records?limit=1000`);
    return Object.fromEntries(list.map(({ hostname, ips }) => [hostname, ips]));
  }

  // A read of a silo as an agent does it, which has applied a revision of it.
  agent(silo, name, { applied, version = "0.2.0", kind = "downstream", token } = {}) {
    const headers = { "silo-agent": `"${name}"; kind=${kind}; version="${version}"` };
    if (applied) headers["silo-applied"] = `"${applied}"; agent="${name}"`;
    return this.done("GET", `/silos/${silo}`, undefined, { token, headers });
  }
}
