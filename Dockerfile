# The Node line the gateway runs on. Keep the major and the Debian name in the tag; rebuild to pick up fixes.
ARG NODE_IMAGE=node:24-trixie-slim

FROM ${NODE_IMAGE} AS base
WORKDIR /app
COPY package.json package-lock.json ./

# The production tree. Nothing in it needs an install script, so none may run.
FROM base AS deps
RUN npm ci --omit=dev --ignore-scripts --no-audit --no-fund

FROM base AS build
RUN npm ci --include=dev --ignore-scripts --no-audit --no-fund
COPY tsconfig.json ./
COPY src ./src
RUN npm run build

FROM ${NODE_IMAGE} AS runtime
# npm and npx stay: MCP_SERVER_COMMAND="npx -y some-server" needs them.
RUN apt-get update \
  && apt-get install -y --no-install-recommends tini \
  && rm -rf /var/lib/apt/lists/*
WORKDIR /app
ENV NODE_ENV=production \
    PORT=3000
COPY package.json LICENSE ./
COPY --from=deps /app/node_modules ./node_modules
COPY --from=build /app/dist ./dist
# The user `node` by number, so that Kubernetes can see that it is not root. /app belongs to root and is read-only to it.
USER 1000:1000
EXPOSE 3000
STOPSIGNAL SIGTERM
# Alive, not ready: a lost session store must not make an orchestrator restart the process that still serves its sessions.
HEALTHCHECK --interval=30s --timeout=5s --start-period=15s --retries=3 \
  CMD ["node", "-e", "fetch('http://127.0.0.1:' + (process.env.PORT || 3000) + '/health').then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
# tini reaps the grandchildren that an MCP server leaves behind (npx, shells), which Node as PID 1 would keep as zombies.
# Without -g: SIGTERM goes to the gateway alone, which lets calls finish first and then ends each server's process group itself.
ENTRYPOINT ["tini", "--"]
CMD ["node", "--enable-source-maps", "dist/main.js"]
