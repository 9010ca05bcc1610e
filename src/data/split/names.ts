/** The names of the methods of splitting, apart from what they need, so that the command line can list them at once. */
export const SPLIT_METHODS = ["iid", "dirichlet", "quantity", "pathological"] as const;
export type SplitMethod = (typeof SPLIT_METHODS)[number];

/** What makes the classes: a field of the records, the language, the length, or the cluster of an embedding, which a model has to say. */
export const CLASS_SOURCES = ["field", "language", "length", "cluster"] as const;
export type ClassSource = (typeof CLASS_SOURCES)[number];
