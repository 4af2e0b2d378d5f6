/** What the generator speaks. */
export const PROTOCOL_VERSION = "2025-06-18";
