/**
 * The adapter in fewer bytes on its way: each direction has a format of messages (src/wire), and a strategy is wrapped so that its tasks hold what
 * clients decode, and ask for answers in the other format. The server keeps its weights in single precision; a client starts from what it
 * decoded, and the server adds the decoded update to its own weights, so what is lost on the way down does not add up over rounds. A direction
 * without a format hands over the vector itself. Everything is a function of values alone.
 */
import { addUpdate, subtractWeights } from "../adapter/weights.js";
import { problemError } from "../errors.js";
import { decodeMessage, encodeMessage, type MessageContext } from "../wire/message.js";
import { fingerprintLayout } from "../adapter/layout.js";
import { isLossy, variesInSize, type DownlinkFormat, type UplinkFormat, type WireFormat } from "../wire/formats.js";
import { ownState } from "./feedback.js";
import { hasLastSent, keyOf, lastSent, withInitial, withSent, type SentSlice } from "./last-sent.js";
import type { CohortMember, NamedState, TrainTask } from "./protocol.js";
import type { Aggregate, RoundContext, Strategy } from "./strategy.js";

/** How the adapter travels; absent: as it is, 4 bytes a number. */
export interface Links {
  readonly uplink?: UplinkFormat;
  readonly downlink?: DownlinkFormat;
}

/**
 * Throws CONFIG_INVALID for a method whose server and clients must agree on more than one vector, or on the sent weights later on, and for
 * one whose numbers of two rounds do not belong together where a format needs that. `place` says whose they are.
 */
export function checkLinks(strategy: Strategy, { uplink, downlink }: Links, place = ""): void {
  if (!strategy.exchangesWeights) return;
  const refuse = (field: string, expected: string, reason: string, received: string) =>
    problemError("CONFIG_INVALID", { subject: `federation.${field}${place}`, expected: `${expected} with strategy ${strategy.name}, ${reason}`, received });
  const rotates = "whose server gives clients factors in another basis or of other ranks than the last round's";
  if (uplink !== undefined) {
    const { errorFeedback, encoding } = uplink;
    if (isLossy(uplink) && strategy.sendsControlVariates === true) throw refuse("uplink", "f32", CONTROL_VARIATES, describeFormat(uplink));
    if (errorFeedback && strategy.asynchronous !== undefined) throw refuse("uplink.errorFeedback", "false", "whose clients keep nothing between their answers", `true (${encoding})`);
    if (errorFeedback && strategy.changesBasis === true) throw refuse("uplink.errorFeedback", "false", `${rotates}, so that what was left out of one update means nothing in the next`, `true (${encoding})`);
  }
  if (downlink !== undefined) {
    const reason = downlinkObstacle(strategy);
    if ((isLossy(downlink) || downlink.delta) && reason !== undefined) throw refuse("downlink", "f32", reason, describeFormat(downlink));
    if (downlink.delta && strategy.changesBasis === true) throw refuse("downlink.delta", "false", `${rotates}, so that a difference is as large as the whole`, "true");
  }
}

const CONTROL_VARIATES = "whose control variates are a second vector that server and clients both keep";

function downlinkObstacle({ asynchronous, keepsFrozen, trainsInner, serverSide, sendsControlVariates }: Strategy): string | undefined {
  if (sendsControlVariates === true) return CONTROL_VARIATES;
  if (asynchronous !== undefined) return "whose server mixes updates with the weights it sent earlier";
  if (keepsFrozen === true) return "which keeps adapters beside the trained one that all must have alike";
  if (trainsInner === true) return "whose fixed matrices all must have alike";
  return serverSide === undefined ? undefined : "whose clients have a second adapter of the server's";
}

function describeFormat({ encoding, topK, delta }: WireFormat & { readonly delta?: boolean }): string {
  return [delta === true ? "differences in" : "", encoding, topK === undefined ? "" : `of a part ${String(topK)}`].filter((text) => text !== "").join(" ");
}

/**
 * The strategy with these links. With a seed, tasks of a strategy that never changes what it does not send name the seed of the initial adapter
 * in their messages, from which a client makes it. Throws as checkLinks.
 */
export function withLinks(strategy: Strategy, links: Links, seed?: number): Strategy {
  checkLinks(strategy, links);
  if (!strategy.exchangesWeights) return strategy;
  const { uplink, downlink } = links;
  const sending = downlink === undefined ? strategy : withDownlink(strategy, downlink, strategy.keepsInitial === true ? seed : undefined);
  return uplink === undefined ? sending : withUplink(sending, uplink);
}

function withUplink(strategy: Strategy, uplink: UplinkFormat): Strategy {
  const wrapped: Strategy = {
    ...strategy,
    ...(variesInSize(uplink) ? { sizesVary: true } : {}),
    configure: (state, cohort, context) => strategy.configure(state, cohort, context).map((task) => ({ ...task, uplink })),
  };
  if (!uplink.errorFeedback) return wrapped;
  return {
    ...wrapped,
    adapters: ({ server, clients }, layout) => {
      const own = [...clients].flatMap(([clientId, state]) => {
        const known = ownState(state);
        return known === undefined ? [] : [[clientId, known] as const];
      });
      return strategy.adapters({ server, clients: new Map(own) }, layout);
    },
  };
}

function withDownlink(strategy: Strategy, downlink: DownlinkFormat, seed: number | undefined): Strategy {
  const wrapped: Strategy = {
    ...strategy,
    ...(variesInSize(downlink) ? { sizesVary: true } : {}),
    configure: (state, cohort, context) => {
      const sender = new Sender(state, context, downlink, seed);
      return strategy.configure(state, cohort, context).map((task) => sender.send(task));
    },
  };
  if (!downlink.delta) return wrapped;
  const after = (next: NamedState, before: NamedState, members: readonly CohortMember[], context: RoundContext): NamedState => {
    const sender = new Sender(before, context, downlink, seed);
    for (const task of strategy.configure(before, members, context)) sender.send(task);
    return withSent(next, before, context.round, sender.sent());
  };
  return {
    ...wrapped,
    init: (weights) => withInitial(strategy.init(weights), weights),
    aggregate: aggregateWith(strategy.aggregate, after),
    sizesAfter: (state, answered, context, allAnswer) => {
      const next = strategy.sizesAfter?.(state, answered, context, allAnswer) ?? state;
      return after(next, state, allAnswer ? answered : [], context);
    },
  };
}

/** What a task has of its message. */
type Sent = Pick<TrainTask, "weights" | "message" | "downlink">;

/** Of one shape of slice in one round: what changed since the last, for who has that, and the same whole for all others. */
interface Shape extends SentSlice {
  readonly source: Float32Array;
  readonly difference: Sent;
  readonly members: CohortMember[];
  whole?: Sent;
}

/** Makes the messages of one round; clients that are sent the same vector are sent one message. */
class Sender {
  readonly #state: NamedState;
  readonly #context: RoundContext;
  readonly #downlink: DownlinkFormat;
  readonly #seed: number | undefined;
  readonly #fingerprint: string;
  readonly #made = new Map<Float32Array, Sent>();
  readonly #shapes = new Map<string, Shape>();

  constructor(state: NamedState, context: RoundContext, downlink: DownlinkFormat, seed: number | undefined) {
    this.#state = state;
    this.#context = context;
    this.#downlink = downlink;
    this.#seed = seed;
    this.#fingerprint = fingerprintLayout(context.layout);
  }

  /** The task with what its client decodes. */
  send(task: TrainTask): TrainTask {
    const { weights, proximal } = task;
    const made = this.#downlink.delta ? this.#sendChange(task) : (this.#made.get(weights) ?? this.#encode(task, weights, this.#downlink));
    this.#made.set(weights, made);
    // A client is held to the weights it was sent, since it has no others.
    const anchored = proximal?.anchor === weights ? { proximal: { ...proximal, anchor: made.weights } } : {};
    return { ...task, ...made, ...(this.#seed === undefined ? {} : { initialSeed: this.#seed }), ...anchored };
  }

  /** What was sent of each shape, and to whom. */
  sent(): readonly SentSlice[] {
    return [...this.#shapes.values()];
  }

  #sendChange(task: TrainTask): Sent {
    const { clientId, numExamples, slice } = task;
    const shape = this.#shapeOf(task);
    shape.members.push({ clientId, numExamples });
    if (hasLastSent(this.#state, clientId, slice)) return shape.difference;
    const { topK: _part, ...downlink } = this.#downlink;
    shape.whole ??= this.#encode(task, shape.values, { ...downlink, encoding: "f32", delta: false });
    return shape.whole;
  }

  #shapeOf(task: TrainTask): Shape {
    const { slice, weights } = task;
    const key = keyOf(slice);
    const former = this.#shapes.get(key);
    if (former !== undefined) {
      checkSame(former.source, weights);
      return former;
    }
    const difference = this.#encode(task, weights, this.#downlink, lastSent(this.#state, this.#context.layout, slice));
    const shape: Shape = { slice, source: weights, difference, values: difference.weights, members: [] };
    this.#shapes.set(key, shape);
    return shape;
  }

  /** With `had` the difference to it. */
  #encode({ slice, outer, round }: TrainTask, weights: Float32Array, downlink: DownlinkFormat, had?: Float32Array): Sent {
    // Sizes follow from the format alone.
    if (this.#context.sizesOnly === true) return { weights, downlink };
    const context: MessageContext = {
      kind: "weights",
      round,
      layout: this.#context.layout,
      layoutFingerprint: this.#fingerprint,
      format: downlink,
      ...(had === undefined ? {} : { isDelta: true }),
      ...(slice === undefined ? {} : { slice }),
      ...(outer === undefined ? {} : { isInner: true }),
    };
    const message = encodeMessage(had === undefined ? weights : subtractWeights(weights, had), context, this.#seed);
    const { values } = decodeMessage(message, context, Number.POSITIVE_INFINITY);
    return { weights: had === undefined ? values : addUpdate(had, values), downlink, message };
  }
}

/** Throws CONFIG_INVALID: there is one vector of a shape that all have. */
function checkSame(left: Float32Array, right: Float32Array): void {
  if (left === right || (left.length === right.length && left.every((value, index) => Object.is(value, right[index])))) return;
  throw problemError("CONFIG_INVALID", {
    subject: "federation.downlink.delta",
    expected: "false with a strategy that sends clients different numbers of one shape",
    received: "true",
  });
}

/** In both forms when the strategy has both; a mean alone does not say who was there. */
function aggregateWith(
  aggregate: Aggregate,
  after: (next: NamedState, before: NamedState, members: readonly CohortMember[], context: RoundContext) => NamedState,
): Aggregate {
  const whole: Aggregate = (state, updates, context) => after(aggregate(state, updates, context), state, updates.map(memberOf), context);
  const { start } = aggregate;
  if (start === undefined) return whole;
  return Object.assign(whole, {
    start: (state: NamedState, context: RoundContext) => {
      const inner = start(state, context);
      const members: CohortMember[] = [];
      return {
        add: (update: Parameters<typeof inner.add>[0]) => {
          members.push(memberOf(update));
          inner.add(update);
        },
        finish: () => after(inner.finish(), state, members, context),
      };
    },
  });
}

function memberOf({ clientId, numExamples }: CohortMember): CohortMember {
  return { clientId, numExamples };
}
