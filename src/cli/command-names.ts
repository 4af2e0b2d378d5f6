/** The first words that are commands; anything else starts the gateway. */
export const COMMANDS: readonly string[] = [
  "sessions",
  "backup",
  "restore",
  "migrate",
  "verify",
  "promote",
  "keys",
  "audit",
];

/** Lines for the help of the whole. */
export const HELP_COMMANDS = `Commands, each with --help
  sessions list|show|close   see who is connected, and end sessions
  backup, restore            write what the store holds to a file, and back
  migrate, verify            move sessions to another store, and compare two
  promote                    put the mirror in the place of a lost store
  keys                       make, list, revoke and rotate API keys
  audit verify               find altered or removed audit records
`;
