// Wallets as extensions bring them, except that every question goes to the test, which has the keys.
(() => {
  const wallets = /* WALLETS */ [];
  if (window !== window.top) return;
  const waiting = new Map();
  const ask = (wallet, method, parameters) =>
    new Promise((resolve, reject) => {
      const number = waiting.size;
      waiting.set(number, { resolve, reject });
      window.askTestWallet(JSON.stringify({ number, wallet: wallet.identity, method, parameters }));
    });
  window.answerOfTestWallet = (number, { value, error }) => {
    const { resolve, reject } = waiting.get(number);
    if (error) reject(Object.assign(new Error(error.message), error));
    else resolve(value);
  };
  const bytes = (values) => Uint8Array.from(values);

  const announceEthereum = (wallet) => {
    const provider = { request: ({ method, params }) => ask(wallet, method, params ?? []) };
    if (wallet.kind === "window.ethereum") {
      window.ethereum = provider;
      return;
    }
    const { name, icon } = wallet;
    const detail = Object.freeze({ info: Object.freeze({ uuid: wallet.identity, name, icon, rdns: "test.wallet" }), provider });
    const announce = () => dispatchEvent(new CustomEvent("eip6963:announceProvider", { detail }));
    addEventListener("eip6963:requestProvider", announce);
    announce();
  };

  const announceSolana = (wallet) => {
    const account = (address, publicKey) => Object.freeze({
      address, publicKey: bytes(publicKey), chains: ["solana:mainnet"], features: ["solana:signMessage"],
    });
    const standard = {
      version: "1.0.0", name: wallet.name, icon: wallet.icon, chains: ["solana:mainnet"], accounts: [],
      features: {
        "standard:connect": {
          version: "1.0.0",
          connect: async () => {
            const { address, publicKey } = await ask(wallet, "connect", []);
            standard.accounts = [account(address, publicKey)];
            return { accounts: standard.accounts };
          },
        },
        "solana:signMessage": {
          version: "1.0.0",
          signMessage: async (...inputs) => Promise.all(inputs.map(async ({ account: { address }, message }) => {
            const { signedMessage, signature } = await ask(wallet, "signMessage", [address, [...message]]);
            return { signedMessage: bytes(signedMessage), signature: bytes(signature) };
          })),
        },
      },
    };
    const announce = ({ register }) => register(standard);
    dispatchEvent(new CustomEvent("wallet-standard:register-wallet", { detail: announce }));
    addEventListener("wallet-standard:app-ready", ({ detail }) => announce(detail));
  };

  const announce = (wallet) => (wallet.chain === "SOL" ? announceSolana : announceEthereum)(wallet);
  for (const wallet of wallets) {
    if (wallet.late) window.letLateWalletCome = () => announce(wallet);
    else announce(wallet);
  }
})();
