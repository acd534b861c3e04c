// An HTTP service without packages. PORT, HOST and RELEASE_VERSION come from the environment.
const http = require("node:http");

const version = process.env.RELEASE_VERSION || "dev";

const server = http.createServer((request, response) => {
  if (request.url === "/health") {
    response.end("ok\n");
  } else if (request.url === "/") {
    response.end(`hello from ${version}\n`);
  } else {
    response.writeHead(404).end("no such page\n");
  }
});

server.listen(Number(process.env.PORT), process.env.HOST || "127.0.0.1", () => {
  console.log(`hello ${version} on port ${server.address().port}`);
});

// No more connections; those that are idle are closed, those that are busy finish.
process.on("SIGTERM", () => server.close());
