/**
 * One adapter per group of clients: any strategy that works in rounds, once for each group, side by side. A group is a
 * federation of its own in every respect (cohort, weights of the mean, number of clients, state of the server), so its adapter
 * has the bits it would have if the other groups were not there. A group without an accepted update in a round stays as it is.
 */
import { problemError } from "../errors.js";
import { assert } from "../util/assert.js";
import type { AdapterSet, ClientUpdate, FederationState, GroupOf, NamedState, SharedAdapters } from "./protocol.js";
import type { Aggregate, Aggregation, RoundContext, Strategy } from "./strategy.js";

/** Names of the groups, in ascending order: the order of everything that is by group. */
export function groupNames(groups: GroupOf): readonly string[] {
  return [...new Set(groups.values())].sort();
}

/** The elements of each group with at least one, in the order of the groups; all together without groups. */
export function splitByGroup<T>(items: readonly T[], groups: GroupOf | undefined, idOf: (item: T) => string): readonly (readonly T[])[] {
  if (groups === undefined) return [items];
  return groupNames(groups).flatMap((name) => {
    const members = items.filter((item) => groupOfClient(groups, idOf(item)) === name);
    return members.length === 0 ? [] : [members];
  });
}

function groupOfClient(groups: GroupOf, clientId: string): string {
  const group = groups.get(clientId);
  assert(group !== undefined, "every client has a group");
  return group;
}

/** Id of the participant that has the data of a group, in rows and events. */
export function pooledIdOf(group: string): string {
  return `pooled ${group}`;
}

/** The strategy once per group; one of pooled data gets a pool for each. Throws CONFIG_INVALID for one that cannot be put into groups. */
export function createGrouped(inner: Strategy, clientGroups: GroupOf): Strategy {
  checkGroupable(inner);
  const pools = inner.participants === "pooled" ? groupNames(clientGroups).map((group) => [pooledIdOf(group), group] as const) : [];
  const groups: GroupOf = new Map([...clientGroups, ...pools]);
  const parts = new GroupParts(inner, groups, clientGroups);
  return {
    ...inner,
    groups,
    init: (weights) => parts.join(new Map(), () => inner.init(weights)),
    configure: (state, cohort, context) =>
      splitByGroup(cohort, groups, ({ clientId }) => clientId).flatMap((members) => {
        const group = groupOfClient(groups, members[0]?.clientId ?? "");
        return inner.configure(parts.stateOf(state, group), members, parts.contextOf(context, group));
      }),
    aggregate: aggregateGroups(inner, parts),
    ...(inner.sizesAfter === undefined ? {} : { sizesAfter: sizesOfGroups(inner, parts, groups) }),
    adapters: (state, layout) => collectAdapters(parts.names.map((group) => [group, inner.adapters(parts.federationOf(state, group), layout)]), clientGroups),
    clientWeight: (update, state, context) => {
      const group = groupOfClient(groups, update.clientId);
      return inner.clientWeight?.(update, parts.stateOf(state, group), parts.contextOf(context, group)) ?? update.numExamples;
    },
    ...(inner.verdicts === undefined
      ? {}
      : { verdicts: (state) => new Map(parts.names.flatMap((group) => [...(inner.verdicts?.(parts.stateOf(state, group)) ?? [])])) }),
    measures: (state) => {
      const all = parts.names.flatMap((group) =>
        Object.entries(inner.measures?.(parts.stateOf(state, group)) ?? {}).map(([name, value]) => [`${name}@${group}`, value] as const),
      );
      return Object.fromEntries(all);
    },
  };
}

/** Throws CONFIG_INVALID for a strategy that cannot be made once per group. */
export function checkGroupable({ name, asynchronous, keepsFrozen, serverSide }: Strategy): void {
  const reasons = [
    asynchronous !== undefined && "its server has one buffer and one row of versions for all clients",
    serverSide !== undefined && "its server aligns one emulator, with one adapter in it",
    keepsFrozen === true && "what it keeps beside the adapter is the same for all results",
  ];
  const reason = reasons.find((text) => text !== false);
  if (reason === undefined) return;
  throw problemError("CONFIG_INVALID", {
    subject: "federation.adapterPerGroup",
    expected: "a strategy that works in rounds and has one adapter as its result",
    received: `strategy ${name}: ${reason}`,
    remedy: "Give its arm federation: {adapterPerGroup: false}",
  });
}

/** The states of all groups in one: `<place of the group>:<name in the group's state>`. */
class GroupParts {
  readonly names: readonly string[];
  readonly #inner: Strategy;
  readonly #groups: GroupOf;
  readonly #sizes = new Map<string, number>();

  /** groups: of all participants; clientGroups: of the clients, whose numbers a group's rounds go by. */
  constructor(inner: Strategy, groups: GroupOf, clientGroups: GroupOf) {
    this.#inner = inner;
    this.#groups = groups;
    this.names = groupNames(groups);
    for (const group of clientGroups.values()) this.#sizes.set(group, (this.#sizes.get(group) ?? 0) + 1);
  }

  stateOf({ arrays, numbers }: NamedState, group: string): NamedState {
    const start = this.#prefixOf(group);
    const pick = <T>(values: Readonly<Record<string, T>>) =>
      Object.fromEntries(Object.entries(values).flatMap(([name, value]) => (name.startsWith(start) ? [[name.slice(start.length), value] as const] : [])));
    return { arrays: pick(arrays), numbers: pick(numbers) };
  }

  /** These states, and for the other groups what `otherwise` gives. */
  join(states: ReadonlyMap<string, NamedState>, otherwise: (group: string) => NamedState): NamedState {
    const arrays = new Map<string, Float32Array>();
    const numbers = new Map<string, number>();
    for (const group of this.names) {
      const state = states.get(group) ?? otherwise(group);
      const start = this.#prefixOf(group);
      for (const [name, array] of Object.entries(state.arrays)) arrays.set(start + name, array);
      for (const [name, number] of Object.entries(state.numbers)) numbers.set(start + name, number);
    }
    return { arrays: Object.fromEntries(arrays), numbers: Object.fromEntries(numbers) };
  }

  contextOf(context: RoundContext, group: string): RoundContext {
    return { ...context, numClients: this.#sizes.get(group) ?? 0 };
  }

  federationOf({ server, clients }: FederationState, group: string): FederationState {
    return {
      server: this.stateOf(server, group),
      clients: new Map([...clients].filter(([clientId]) => groupOfClient(this.#groups, clientId) === group)),
    };
  }

  groupOf(update: ClientUpdate): string {
    return groupOfClient(this.#groups, update.clientId);
  }

  startAggregation(state: NamedState, context: RoundContext, group: string): Aggregation {
    const { start } = this.#inner.aggregate;
    assert(start !== undefined, "the strategy takes updates one by one");
    return start(this.stateOf(state, group), this.contextOf(context, group));
  }

  #prefixOf(group: string): string {
    return `${String(this.names.indexOf(group))}:`;
  }
}

function sizesOfGroups(inner: Strategy, parts: GroupParts, groups: GroupOf): NonNullable<Strategy["sizesAfter"]> {
  return (state, answered, context, allAnswer) => {
    const states = splitByGroup(answered, groups, ({ clientId }) => clientId).map((members) => {
      const group = groupOfClient(groups, members[0]?.clientId ?? "");
      const own = parts.stateOf(state, group);
      return [group, inner.sizesAfter?.(own, members, parts.contextOf(context, group), allAnswer) ?? own] as const;
    });
    return parts.join(new Map(states), (group) => parts.stateOf(state, group));
  };
}

/** In both forms when the strategy has both. */
function aggregateGroups({ aggregate }: Strategy, parts: GroupParts): Aggregate {
  const whole = (state: NamedState, updates: readonly ClientUpdate[], context: RoundContext): NamedState => {
    const states = parts.names.flatMap((group) => {
      const mine = updates.filter((update) => parts.groupOf(update) === group);
      return mine.length === 0 ? [] : [[group, aggregate(parts.stateOf(state, group), mine, parts.contextOf(context, group))] as const];
    });
    return parts.join(new Map(states), (group) => parts.stateOf(state, group));
  };
  if (aggregate.start === undefined) return whole;
  const start = (state: NamedState, context: RoundContext): Aggregation => {
    const running = new Map<string, Aggregation>();
    return {
      add: (update) => {
        const group = parts.groupOf(update);
        const mine = running.get(group) ?? parts.startAggregation(state, context, group);
        running.set(group, mine);
        mine.add(update);
      },
      finish: () =>
        parts.join(new Map([...running].map(([group, aggregation]) => [group, aggregation.finish()])), (group) => parts.stateOf(state, group)),
    };
  };
  return Object.assign(whole, { start });
}

/** Clients' own adapters stay theirs; what is common to a group is the group's. */
function collectAdapters(sets: readonly (readonly [group: string, adapters: AdapterSet])[], groupOf: GroupOf): AdapterSet {
  const shared = new Map<string, Float32Array>();
  const own = new Map<string, Float32Array>();
  let hasOwn = false;
  for (const [group, adapters] of sets) {
    assert(adapters.kind !== "perGroup", "groups have no groups");
    const common = adapters.kind === "global" ? adapters : adapters.shared;
    if (common?.kind === "global") shared.set(group, common.weights);
    if (adapters.kind === "global") continue;
    hasOwn = true;
    for (const [clientId, weights] of adapters.weights) own.set(clientId, weights);
  }
  const perGroup: SharedAdapters = { kind: "perGroup", weights: shared, groupOf };
  if (!hasOwn) return perGroup;
  return { kind: "perClient", weights: own, ...(shared.size === 0 ? {} : { shared: perGroup }) };
}
