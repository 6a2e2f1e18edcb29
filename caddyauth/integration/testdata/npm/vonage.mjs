// Signs and verifies with Vonage's own package, as Vonage's servers and users' receivers do. Reads one JSON object from
// standard input: {secret, claims, tokens}; writes {signed, verified}.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(process.env.CADDYAUTH_NPM + "/package.json");
const vonage = await import(pathToFileURL(require.resolve("@vonage/jwt")));
const jsonwebtoken = require("jsonwebtoken"); // what @vonage/jwt itself signs with; its own generator knows only RS256

const { secret, claims, tokens } = JSON.parse(readFileSync(0, "utf8"));
const verified = (token) => {
	try {
		return vonage.verifySignature(token, secret) === true;
	} catch {
		return false;
	}
};
process.stdout.write(
	JSON.stringify({
		signed: jsonwebtoken.sign(claims, secret, { algorithm: "HS256" }),
		verified: tokens.map(verified),
	}),
);
