// The login page: finds wallets, has one sign the gateway's challenge, and hands the new API key to whoever asked for it.
//
// Wallets announce themselves by window events: EIP-6963 for Ethereum, the Wallet Standard for Solana. What they and the
// gateway say is put on the page as text, never as markup.
"use strict";

const at = (id) => document.getElementById(id);
const asked = new URLSearchParams(location.search);
// The gateway has checked it, and has refused a query with two of them.
const callback = asked.get("callback");

// How long the gateway is waited for; it gives up itself after 30 seconds.
const GATEWAY_MS_MAX = 35_000;

// Something that went wrong, what to do about it, and the field to do it in, if it is not to choose a wallet again.
class Problem extends Error {
  constructor(what, next, field) {
    super(what);
    this.next = next;
    this.field = field;
  }
}

// ---- Wallets ----

// What was found: { name, icon, chain, connect, sign } and its line in the list, by what tells one from another.
const wallets = new Map();

const hex = (bytes) => `0x${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
const base64 = (bytes) => btoa(String.fromCharCode(...bytes));

const ethereum = (provider, name, icon) => ({
  name,
  icon,
  chain: { title: "Ethereum", type: "ETH" },
  connect: async () => {
    const [address] = await provider.request({ method: "eth_requestAccounts" });
    return address && { address };
  },
  sign: ({ address }, message) =>
    provider.request({ method: "personal_sign", params: [hex(new TextEncoder().encode(message)), address] }),
});

const solana = (wallet) => ({
  name: wallet.name,
  icon: wallet.icon,
  chain: { title: "Solana", type: "SOL" },
  connect: async () => {
    const { accounts } = await wallet.features["standard:connect"].connect();
    return (accounts.length ? accounts : wallet.accounts).find(isOnSolana);
  },
  sign: async (account, text) => {
    const message = new TextEncoder().encode(text);
    const [signed] = await wallet.features["solana:signMessage"].signMessage({ account, message });
    if (hex(signed.signedMessage) !== hex(message)) {
      throw new Problem("The wallet signed another text than it was given.", "Hardware wallets may do so. Use another wallet.");
    }
    return base64(signed.signature);
  },
});

const isOnSolana = ({ chains }) => chains?.some((chain) => chain.startsWith("solana:"));

const listWallet = (key, wallet) => {
  if (wallets.has(key)) return;
  if (wallet.chain.type === "ETH") forget("window.ethereum");
  const button = document.createElement("button");
  button.type = "button";
  const { name, icon, chain } = wallet;
  button.append(walletIcon(name, icon), part("name", text(name, "Wallet")), part("chain", chain.title));
  button.addEventListener("click", () => {
    pressed = button;
    signIn(wallet);
  });
  const item = document.createElement("li");
  item.append(button);
  at("wallets").append(item);
  at("none").hidden = true;
  wallets.set(key, { wallet, item });
};

const forget = (key) => {
  wallets.get(key)?.item.remove();
  wallets.delete(key);
};

// Wallets that do not know EIP-6963 share one name; it counts only while no other Ethereum wallet has announced itself.
const listInjected = () => {
  const known = [...wallets.values()].some(({ wallet }) => wallet.chain.type === "ETH");
  if (!known && window.ethereum?.request) listWallet("window.ethereum", ethereum(window.ethereum, "Browser wallet"));
};

const findWallets = () => {
  addEventListener("eip6963:announceProvider", ({ detail }) => {
    if (!detail?.info?.uuid || !detail.provider?.request) return;
    const { uuid, name, icon } = detail.info;
    listWallet(`eip6963:${uuid}`, ethereum(detail.provider, name, icon));
  });
  const register = (...registered) => {
    for (const wallet of registered) {
      const able = wallet?.features?.["standard:connect"] && wallet.features["solana:signMessage"];
      if (able && isOnSolana(wallet)) listWallet(wallet, solana(wallet));
    }
    return () => registered.forEach(forget);
  };
  addEventListener("wallet-standard:register-wallet", ({ detail }) => {
    if (typeof detail === "function") detail({ register });
  });
  dispatchEvent(new Event("eip6963:requestProvider"));
  dispatchEvent(new CustomEvent("wallet-standard:app-ready", { detail: { register } }));
  addEventListener("ethereum#initialized", listInjected, { once: true });
  addEventListener("load", listInjected);
  listInjected();
  at("none").hidden = wallets.size > 0;
};

const part = (className, textContent) => Object.assign(document.createElement("span"), { className, textContent });

const walletIcon = (name, icon) => {
  // Wallets bring their icon along; a picture from elsewhere would tell others who signs in here.
  if (typeof icon === "string" && /^data:image\//.test(icon.trim())) {
    return Object.assign(document.createElement("img"), { className: "icon", alt: "", src: icon.trim() });
  }
  const letter = part("icon letter", text(name, "W").slice(0, 1).toUpperCase());
  letter.setAttribute("aria-hidden", "true");
  return letter;
};

// What a wallet calls itself, as far as it fits.
const text = (value, otherwise) => (typeof value === "string" && value.trim() ? value.trim().slice(0, 60) : otherwise);

// ---- The gateway ----

const post = async (path, body) => {
  let answer;
  try {
    answer = await fetch(path, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
      credentials: "omit",
      redirect: "error",
      signal: AbortSignal.timeout(GATEWAY_MS_MAX),
    });
  } catch {
    throw new Problem("The gateway does not answer.", "See whether it still runs and you are online, then try again.");
  }
  const told = await answer.json().catch(() => null);
  if (answer.ok && told) return told;
  throw refusal(answer, told ?? {}, body);
};

const refusal = (answer, told, { namespace, wallet }) => {
  const said = typeof told.error === "string" ? told.error : `status ${answer.status}`;
  switch (answer.status) {
    case 400:
      return new Problem(`The gateway did not take the request: ${said}.`,
        "If the namespace is right, try another wallet; wallets that are contracts cannot sign in.");
    case 401:
      return new Problem("The signature was not accepted.",
        "The text to sign is good for 5 minutes and once, and only for the account that is shown. Sign in again.");
    case 403:
      return new Problem(`The namespace “${namespace}” is not open to this wallet.`,
        "It belongs to somebody else, or new names are not given away here. Pick another name, or ask the owner of this " +
        `one to invite ${wallet}.`, "namespace");
    case 409:
      return new Problem(`The gateway refuses: ${said}.`, "Free some room there, or pick another namespace.", "namespace");
    case 429: {
      const seconds = Number(answer.headers.get("Retry-After"));
      return new Problem("There were too many attempts from here.",
        `Wait ${seconds > 1 ? `${seconds} seconds` : "a moment"}, then sign in again.`);
    }
    default:
      return told.retryable
        ? new Problem(`The gateway cannot serve just now: ${said}.`, "Wait a moment, then sign in again.")
        : new Problem(`The gateway failed: ${said}.`,
          `Tell its operator${told.request_id ? `, with the request id ${told.request_id}` : ""}.`);
  }
};

const walletProblem = (error, wallet) => {
  const name = text(wallet.name, "The wallet");
  const said = String(error?.message ?? error).slice(0, 200);
  if (error?.code === 4001 || /reject|denied|declin|cancel/i.test(said)) {
    return new Problem(`You said no in ${name}.`, "Nothing was signed. Choose a wallet to try again.");
  }
  if (error?.code === -32002) {
    return new Problem(`${name} is still waiting for an answer.`, "Open it, answer or close what it asks, then try again.");
  }
  return new Problem(`${name} failed: ${said}`, "Unlock it and try again, or choose another wallet.");
};

// What a wallet is asked, with its errors in our words.
const ask = async (wallet, question) => {
  try {
    return await question();
  } catch (error) {
    throw error instanceof Problem ? error : walletProblem(error, wallet);
  }
};

// ---- Signing in ----

// Counts attempts: the answers of one that was given up come to nothing.
let attempt = 0;
// The button of the wallet that was chosen, where the keyboard goes on when it has to be chosen again.
let pressed = null;

const signIn = async (wallet) => {
  if (!checkNamespace()) return;
  const namespace = at("namespace").value;
  const mine = ++attempt;
  const step = (what, waitsFor) => {
    if (mine !== attempt) throw new Abandoned();
    show("progress");
    at("status").textContent = what;
    at("start-over").hidden = waitsFor !== "wallet";
  };
  const name = text(wallet.name, "the wallet");
  try {
    step(`Open ${name} and let it show your address to this page.`, "wallet");
    at("progress").focus();
    const account = await ask(wallet, wallet.connect);
    if (!account) throw new Problem(`${name} showed no account.`, "Unlock it, choose an account, then try again.");

    step("Getting the text to sign.", "gateway");
    const who = { wallet: account.address, chain_type: wallet.chain.type, namespace };
    const { nonce, message } = await post("/v1/auth/challenge", { ...who, purpose: "api_key_generation" });

    step(`Read the text in ${name}, and sign it.`, "wallet");
    at("message").textContent = message;
    at("text").hidden = false;
    const signature = await ask(wallet, () => wallet.sign(account, message));

    step("Making your key.", "gateway");
    const made = await post("/v1/auth/api-key", { ...who, nonce, signature });
    if (mine === attempt) finish(made);
  } catch (error) {
    if (mine !== attempt || error instanceof Abandoned) return;
    const known = error instanceof Problem ? error : new Problem(`Something went wrong: ${error.message}`, "Reload the page.");
    fail(known);
  }
};

// Nobody waits for this attempt any more.
class Abandoned extends Error {}

// Shows one of the three states of the page: "sign-in", "progress" or "done".
const show = (state) => {
  for (const other of ["sign-in", "progress", "done"]) at(other).hidden = other !== state;
  at("problem").hidden = true;
  at("text").hidden = true;
};

const fail = ({ message, next, field }) => {
  show("sign-in");
  at("problem-what").textContent = message;
  at("problem-next").textContent = next;
  at("problem").hidden = false;
  (field ? at(field) : pressed).focus({ preventScroll: true });
  at("problem").scrollIntoView({ block: "nearest" });
};

const finish = ({ api_key, namespace, wallet, plan }) => {
  show("done");
  at("title").textContent = "You are signed in";
  at("about").hidden = true;
  at("done-namespace").textContent = namespace;
  at("done-wallet").textContent = wallet;
  if (!callback) {
    at("api-key").value = api_key;
    at("key").hidden = false;
    at("title").focus();
    return;
  }
  const target = new URL(callback);
  const given = { api_key, namespace, wallet, plan, state: asked.get("state") };
  for (const [name, value] of Object.entries(given)) {
    if (value !== null && value !== undefined) target.searchParams.set(name, value);
  }
  at("return").textContent = target.host;
  at("return").href = target.href;
  at("returning").hidden = false;
  at("title").focus();
  // Not kept in the history: going back must not lead to a page that has done its work.
  location.replace(target.href);
};

const checkNamespace = () => {
  const field = at("namespace");
  field.value = field.value.trim();
  const good = /^[a-z0-9][a-z0-9_-]{0,62}$/.test(field.value);
  field.setAttribute("aria-invalid", String(!good));
  at("namespace-problem").hidden = good;
  at("namespace-problem").textContent = good ? "" : field.value
    ? "Use a to z, 0 to 9, - and _, beginning with a letter or digit."
    : "Say which namespace the key is for.";
  if (!good) field.focus();
  return good;
};

const copy = async () => {
  const field = at("api-key");
  field.select();
  try {
    await navigator.clipboard.writeText(field.value);
    at("copied").textContent = "Copied.";
  } catch {
    // Pages without TLS may not write to the clipboard themselves, but it is selected now.
    at("copied").textContent = "The key is selected: copy it with Ctrl+C or ⌘C.";
  }
};

const startOver = () => {
  attempt += 1;
  show("sign-in");
  pressed.focus();
};

// Says where the key will go, before anything is signed.
const showDestination = () => {
  const say = (how, where, care) => {
    at("destination-how").textContent = how;
    at("destination").textContent = where;
    at("destination-care").textContent = care;
  };
  if (!callback) return say("be shown on this page, once", "", "");
  const { host, hostname } = new URL(callback);
  if (hostname === "localhost" || hostname === "[::1]" || hostname.startsWith("127.")) {
    return say("go to the program on this computer that waits at ", host, "Go on only if you have just started it.");
  }
  return say("go to ", host, "Go on only if you came from there.");
};

const begin = () => {
  if (asked.get("namespace")) at("namespace").value = asked.get("namespace");
  showDestination();
  at("start-over").addEventListener("click", startOver);
  at("copy").addEventListener("click", copy);
  at("namespace").addEventListener("input", () => at("namespace").removeAttribute("aria-invalid"));
  // A page that comes back from the browser's memory has a spent state.
  addEventListener("pageshow", ({ persisted }) => persisted && location.reload());
  show("sign-in");
  findWallets();
};

begin();
