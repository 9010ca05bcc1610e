/** Names and addresses of this machine that others cannot reach. */

const LOOPBACK_NAME = /^(localhost|127(\.\d{1,3}){3}|\[::1\]|::1)$/u;

/** True for such a name, as it stands in an option or a Host header, without a port. */
export function isLoopbackName(host: string): boolean {
  return LOOPBACK_NAME.test(host);
}
