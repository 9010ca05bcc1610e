/** An independent reader of TensorBoard's event files: records by their lengths and checksums, messages by their tags. */

export interface ReadEvent {
  readonly wallTime?: number;
  readonly step?: number;
  readonly version?: string;
  readonly scalars: readonly { readonly tag: string; readonly value: number }[];
}

/** Bit by bit, without a table. */
export function slowCrc32c(bytes: Uint8Array): number {
  let crc = 0xffff_ffffn;
  for (const byte of bytes) {
    crc ^= BigInt(byte);
    for (let bit = 0; bit < 8; bit++) crc = (crc & 1n) === 1n ? (crc >> 1n) ^ 0x82f6_3b78n : crc >> 1n;
  }
  return Number(crc ^ 0xffff_ffffn);
}

/** Throws for a checksum that does not fit. */
export function readEventFile(file: Buffer): readonly ReadEvent[] {
  const events: ReadEvent[] = [];
  for (let at = 0; at < file.length; ) {
    const length = Number(file.readBigUInt64LE(at));
    check(file.subarray(at, at + 8), file.readUInt32LE(at + 8));
    const data = file.subarray(at + 12, at + 12 + length);
    check(data, file.readUInt32LE(at + 12 + length));
    events.push(readEvent(data));
    at += 16 + length;
  }
  return events;
}

function check(bytes: Uint8Array, masked: number): void {
  const rotated = (masked - 0xa282_ead8 + 2 ** 32) % 2 ** 32;
  const crc = ((rotated >>> 17) | (rotated << 15)) >>> 0;
  if (crc !== slowCrc32c(bytes)) throw new Error("a checksum does not fit");
}

interface Field {
  readonly field: number;
  readonly value: number | Buffer;
}

function* fieldsOf(bytes: Buffer): Generator<Field> {
  let at = 0;
  const varint = () => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = bytes.readUInt8(at++);
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return Number(value);
    }
  };
  while (at < bytes.length) {
    const tag = varint();
    const [field, type] = [tag >> 3, tag & 7];
    if (type === 0) yield { field, value: varint() };
    else if (type === 1) yield { field, value: bytes.readDoubleLE((at += 8) - 8) };
    else if (type === 5) yield { field, value: bytes.readFloatLE((at += 4) - 4) };
    else if (type === 2) {
      const length = varint();
      yield { field, value: bytes.subarray(at, (at += length)) };
    } else throw new Error(`wire type ${String(type)}`);
  }
}

function readEvent(bytes: Buffer): ReadEvent {
  const fields = [...fieldsOf(bytes)];
  const number = (wanted: number) => fields.find(({ field }) => field === wanted)?.value as number | undefined;
  const buffers = (list: readonly Field[], wanted: number) => list.filter(({ field }) => field === wanted).map(({ value }) => value as Buffer);
  const scalars = buffers(fields, 5).flatMap((summary) =>
    buffers([...fieldsOf(summary)], 1).map((value) => {
      const parts = [...fieldsOf(value)];
      return { tag: buffers(parts, 1)[0]?.toString() ?? "", value: parts.find(({ field }) => field === 2)?.value as number };
    }),
  );
  const [version] = buffers(fields, 3);
  const [wallTime, step] = [number(1), number(2)];
  return { scalars, ...(wallTime === undefined ? {} : { wallTime }), ...(step === undefined ? {} : { step }), ...(version === undefined ? {} : { version: version.toString() }) };
}
