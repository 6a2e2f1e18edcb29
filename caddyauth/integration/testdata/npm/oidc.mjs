// An authorization server (oidc-provider) and a publisher of tokens in the shape of Azure's (jose), on a port of
// 127.0.0.1 that it prints. It obeys lines of JSON on standard input, each with one line of JSON as the answer, and
// ends with the input.
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

// Standard output is for answers alone.
console.info = console.log = console.error;
const say = (answer) => process.stdout.write(JSON.stringify(answer) + "\n");

const require = createRequire(pathToFileURL(join(process.env.CADDYAUTH_NPM, "package.json")));
const load = async (name) => import(pathToFileURL(require.resolve(name)));
const { Provider } = await load("oidc-provider");
const { exportJWK, generateKeyPair, SignJWT } = await load("jose");

const secret = "a-client-secret-0123456789abcdef";
const client = (id, method, grants) => ({
	client_id: id,
	client_secret: secret,
	token_endpoint_auth_method: method,
	introspection_endpoint_auth_method: method,
	grant_types: grants,
	response_types: grants.includes("authorization_code") ? ["code"] : [],
	redirect_uris: grants.includes("authorization_code") ? ["https://app.ringostat.example/oauth/callback"] : [],
});

// A resource whose name ends in /opaque gets opaque access tokens, any other signed ones.
const authorizationServer = (issuer, key) =>
	new Provider(issuer, {
		clients: [
			client("gate", "client_secret_basic", []),
			client("gate-body", "client_secret_post", []),
			client("ringostat", "client_secret_basic", ["authorization_code", "client_credentials"]),
			client("ringostat-body", "client_secret_post", ["authorization_code", "client_credentials"]),
		],
		scopes: ["openid", "hooks:write"],
		jwks: { keys: [key] },
		cookies: { keys: ["a-cookie-key-0123456789abcdef0123"] },
		pkce: { required: () => false },
		ttl: { ClientCredentials: 600, AccessToken: 600, AuthorizationCode: 60, Grant: 600, Interaction: 600, Session: 600 },
		findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
		features: {
			devInteractions: { enabled: true },
			clientCredentials: { enabled: true },
			introspection: { enabled: true, allowedPolicy: () => true },
			revocation: { enabled: true },
			resourceIndicators: {
				enabled: true,
				defaultResource: () => "https://hooks.example.com/ringostat",
				useGrantedResource: () => true,
				getResourceServerInfo: (_, resource) => ({
					scope: "hooks:write",
					audience: resource,
					accessTokenTTL: 600,
					accessTokenFormat: resource.endsWith("/opaque") ? "opaque" : "jwt",
					jwt: { sign: { alg: "RS256" } },
				}),
			},
		},
	}).callback();

const newKey = async (kid) => {
	const { privateKey } = await generateKeyPair("RS256", { extractable: true });
	return { privateKey, jwk: { ...(await exportJWK(privateKey)), kid, alg: "RS256", use: "sig" } };
};

let key = await newKey("first");
let answer;
const server = createServer((request, response) => {
	if (!request.url.startsWith("/azure/")) return answer(request, response);
	const { n, e, kty, kid } = key.jwk;
	const document =
		request.url === "/azure/keys"
			? { keys: [{ n, e, kty, kid, use: "sig", issuer: azureIssuer }] }
			: { issuer: azureIssuer, jwks_uri: `${issuer}/azure/keys` };
	response.setHeader("Content-Type", "application/json").end(JSON.stringify(document));
});
await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
const issuer = `http://127.0.0.1:${server.address().port}`;
let azureIssuer = "https://acscallautomation.communication.azure.com";
answer = authorizationServer(issuer, key.jwk);
say({ issuer, secret });

const commands = {
	// A new signing key, as after a restart with a new key set.
	rotate: async () => {
		key = await newKey("second");
		answer = authorizationServer(issuer, key.jwk);
		return {};
	},
	sign: async ({ claims }) => ({
		token: await new SignJWT(claims).setProtectedHeader({ alg: "RS256", typ: "JWT", kid: key.jwk.kid }).sign(key.privateKey),
	}),
	azure: async ({ issuer }) => ((azureIssuer = issuer), {}),
};
for await (const line of createInterface({ input: process.stdin })) {
	const { command, ...rest } = JSON.parse(line);
	say(await commands[command](rest));
}
server.closeAllConnections();
server.close();
