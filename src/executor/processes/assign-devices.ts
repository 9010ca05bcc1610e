/** Which worker computes on which device. */

/**
 * A device for each worker: the listed ones one after another, from the first again when there are more workers than devices. Without a list all have the
 * run's own, which is undefined for the processor.
 */
export function assignDevices(numWorkers: number, devices: readonly string[], ownDevice: string | undefined): readonly (string | undefined)[] {
  return Array.from({ length: numWorkers }, (_, place) => (devices.length === 0 ? ownDevice : devices[place % devices.length]));
}
