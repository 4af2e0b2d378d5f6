import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

import { freePort, startRedis, type RedisUnderTest } from "./redis-server.ts";

const openssl = (words: readonly string[]) => promisify(execFile)("openssl", words);

const KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];

/** A certificate and its key, as files. */
export interface Certificate {
  certFile: string;
  keyFile: string;
}

export interface Authority {
  /** Its own certificate. */
  caFile: string;
  /** Where its files are. */
  directory: string;
  /** Signs a certificate for names such as `IP:127.0.0.1,DNS:localhost`. */
  issue: (names: string) => Promise<Certificate>;
  /** Removes all its files. */
  remove: () => Promise<void>;
}

/** An authority of the test's own. */
export async function makeAuthority(): Promise<Authority> {
  const directory = await mkdtemp(join(tmpdir(), "redis-tls-"));
  const [caFile, caKey] = [join(directory, "ca.pem"), join(directory, "ca.key")];
  await openssl(["req", "-x509", ...KEY, "-subj", "/CN=test authority", "-keyout", caKey, "-out", caFile]);
  let issued = 0;
  return {
    caFile,
    directory,
    issue: async (names) => {
      issued += 1;
      const [certFile, keyFile] = [`${issued}.pem`, `${issued}.key`].map((name) => join(directory, name));
      if (certFile === undefined || keyFile === undefined) throw new Error("two were made");
      const signed = ["-CA", caFile, "-CAkey", caKey, "-addext", "basicConstraints=critical,CA:FALSE"];
      const subject = ["-subj", "/CN=redis", "-addext", `subjectAltName=${names}`];
      await openssl(["req", "-x509", ...KEY, ...signed, ...subject, "-keyout", keyFile, "-out", certFile]);
      return { certFile, keyFile };
    },
    remove: () => rm(directory, { recursive: true, force: true }),
  };
}

/** Flags of a redis-server that speaks TLS on a port, beside its plain one. */
export const tlsFlags = (port: number, { certFile, keyFile }: Certificate, caFile: string): string[] =>
  ["--tls-port", `${port}`, "--tls-cert-file", certFile, "--tls-key-file", keyFile].concat([
    "--tls-ca-cert-file",
    caFile,
    "--tls-auth-clients",
    "no",
  ]);

/** A Redis that speaks TLS at `tlsPort`, with this certificate. */
export async function startTlsRedis(
  { caFile }: Authority,
  certificate: Certificate,
): Promise<RedisUnderTest & { tlsPort: number }> {
  const tlsPort = await freePort();
  return { ...(await startRedis(tlsFlags(tlsPort, certificate, caFile))), tlsPort };
}
