/**
 * All parties of an attempt in one process, which hand each other the messages of the protocol and nothing else; bytes are counted on them. It
 * computes what a federation of machines would, and protects nobody from whoever runs the process.
 */
import { SecureClient } from "./client.js";
import { newAttempt, type AttemptOptions, type AttemptParameters } from "./parameters.js";
import { SecureServer, type ServerStage } from "./server.js";

/** Bytes of a client's messages. */
export interface MessageBytes {
  readonly upload: number;
  readonly download: number;
}

export class SimulatedAttempt {
  readonly parameters: AttemptParameters;
  readonly #server: SecureServer;
  readonly #clients: readonly SecureClient[];
  readonly #upload: number[];
  readonly #download: number[];
  readonly #leavesBefore: (client: number) => ServerStage | undefined;

  /** `leavesBefore`: the stage whose message a client does not send any more. Default: everybody stays. Throws as newAttempt. */
  constructor(options: AttemptOptions, leavesBefore: (client: number) => ServerStage | undefined = () => undefined) {
    this.parameters = newAttempt(options);
    this.#server = new SecureServer(this.parameters);
    this.#clients = Array.from({ length: options.numClients }, (_, index) => new SecureClient(this.parameters, index));
    this.#upload = this.#clients.map(() => 0);
    this.#download = this.#clients.map(() => 0);
    this.#leavesBefore = leavesBefore;
  }

  /** Stages 1 and 2, in which keys and shares are exchanged. Throws COHORT_TOO_SMALL. */
  prepare(): void {
    const withKeys = this.#clients.filter((client) => this.#isThere(client, "keys"));
    for (const client of withKeys) this.#send(client, client.advertise());
    this.#server.endStage();
    for (const client of withKeys.filter((one) => this.#isThere(one, "shares"))) this.#send(client, client.share(this.#receive(client, this.#server.roster(client.index))));
    this.#server.endStage();
  }

  /** Stage 3 of one client, once; one that is not named has left. */
  add(index: number, vector: Uint32Array): void {
    const client = this.#clients[index];
    if (client === undefined || !this.#isThere(client, "masked")) return;
    this.#send(client, client.mask(this.#receive(client, this.#server.inbox(index)), vector));
  }

  /** Stage 4, and the sum of the vectors that were added, modulo 2^bits. Throws COHORT_TOO_SMALL. */
  finish(): Uint32Array {
    const added = this.#added;
    this.#server.endStage();
    for (const client of this.#clients) {
      if (added.has(client.index) && this.#isThere(client, "reveal")) this.#send(client, client.reveal(this.#receive(client, this.#server.survivors(client.index))));
    }
    this.#server.endStage();
    return this.#server.finish();
  }

  bytesOf(index: number): MessageBytes {
    return { upload: this.#upload[index] ?? 0, download: this.#download[index] ?? 0 };
  }

  readonly #added = new Set<number>();

  #isThere({ index }: SecureClient, stage: ServerStage): boolean {
    const last = this.#leavesBefore(index);
    const order: readonly ServerStage[] = ["keys", "shares", "masked", "reveal"];
    return last === undefined || order.indexOf(stage) < order.indexOf(last);
  }

  #send({ index }: SecureClient, message: Uint8Array): void {
    if (this.#server.stage === "masked") this.#added.add(index);
    this.#upload[index] = (this.#upload[index] ?? 0) + message.length;
    this.#server.accept(message);
  }

  #receive({ index }: SecureClient, message: Uint8Array): Uint8Array {
    this.#download[index] = (this.#download[index] ?? 0) + message.length;
    return message;
  }
}
