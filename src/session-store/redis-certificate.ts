import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";

import { ConfigError } from "../errors.ts";

/**
 * Reads the certificate authorities in a PEM file, for a server whose certificate none of those that Node trusts has
 * signed. Throws a ConfigError that names REDIS_CA_FILE and not the path.
 */
export function readCertificates(path: string): string {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    const { code = "unknown" } = error as NodeJS.ErrnoException;
    throw new ConfigError([`REDIS_CA_FILE: cannot be read (${code})`]);
  }
  const blocks = text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  if (blocks.length === 0 || !blocks.every(isCertificate))
    throw new ConfigError(["REDIS_CA_FILE: holds no certificate in PEM, or a damaged one"]);
  return blocks.join("\n");
}

function isCertificate(pem: string): boolean {
  try {
    return new X509Certificate(pem).raw.length > 0;
  } catch {
    return false;
  }
}

/** What is wrong with a server's certificate, in plain words; undefined for a code that is not about certificates. */
export function certificateProblem(code: string): string | undefined {
  if (/ALTNAME|HOSTNAME_MISMATCH/.test(code)) return "its certificate is for another host name";
  if (/^CERT_(HAS_EXPIRED|NOT_YET_VALID)$/.test(code)) return "its certificate is not valid at this time";
  if (!/CERT|^UNABLE_TO_(GET|VERIFY|DECRYPT|DECODE)_|^INVALID_(CA|PURPOSE)$/.test(code)) return undefined;
  return "its certificate is signed by nobody that is trusted here; REDIS_CA_FILE can name the authority's file";
}
