/** The sandboxes by name; auto is the first that works. */
export const SANDBOX_BACKENDS = ["auto", "bubblewrap", "pyodide"] as const;
export type SandboxBackendName = (typeof SANDBOX_BACKENDS)[number];
