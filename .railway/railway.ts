import { defineRailway, github, preserve, project, service } from "railway/iac";

/** Your copy of the repository, as GitHub spells it. */
const REPOSITORY = "your-account/mcp-sse-gateway";

/** The project on Railway. It says the same as railway.json, which Railway reads no longer from December 2026 on. */
export default defineRailway(() => {
  const gateway = service("gateway", {
    source: github(REPOSITORY, { branch: "main" }),
    build: { builder: "DOCKERFILE", dockerfilePath: "Dockerfile" },
    deploy: {
      // Ready, not alive: a deployment whose session store cannot be reached must not replace one that works.
      healthcheckPath: "/health/ready",
      healthcheckTimeout: 120,
      numReplicas: 1,
      // The new deployment answers before the old one closes its door: an SSE client gives up at the first 502.
      overlapSeconds: 20,
      // DRAIN_SECONDS, and what ending the servers and leaving the store take after it: else SIGKILL ends the drain.
      drainingSeconds: 35,
      // Heartbeats keep the service awake anyway, and the first request after a sleep may get a 502.
      sleepApplication: false,
      restartPolicyType: "ON_FAILURE",
      restartPolicyMaxRetries: 10,
    },
    // Values live in Railway, never here. Name each variable that you set there.
    env: {
      MCP_API_KEY: preserve(),
      UPSTASH_REDIS_REST_URL: preserve(),
      UPSTASH_REDIS_REST_TOKEN: preserve(),
    },
  });
  return project("mcp-sse-gateway", { resources: [gateway] });
});
