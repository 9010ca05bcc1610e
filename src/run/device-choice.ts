/** Which device computes: a name, or `auto` for the fastest class of device on which the model fits. */
import { existsSync } from "node:fs";
import { isFedllmError, problemError } from "../errors.js";
import type { NativeDevice } from "../native/binding.js";
import type { NativeBackend } from "../native/libraries.js";

/** The word that leaves the choice to the program. */
export const AUTO_DEVICE = "auto";

/** Drivers that compute on the processor, with less speed than the processor's own kernels. */
const SOFTWARE_DRIVER = /llvmpipe|lavapipe|swiftshader|software/iu;

const CLASSES: readonly NativeDevice["type"][] = ["gpu", "igpu"];

/** Which build of the libraries has a device: its name, ours or ggml's, begins with the backend's. */
export function backendOfDevice(device: string | undefined, isUsable: (backend: NativeBackend) => boolean): NativeBackend {
  if (device?.toLowerCase() === AUTO_DEVICE) return backendOfMachine(isUsable);
  const match = /^(vulkan|cuda|metal|mtl)/i.exec(device ?? "");
  const backend = match?.[1]?.toLowerCase();
  return backend === undefined ? "cpu" : backend === "mtl" ? "metal" : (backend as NativeBackend);
}

/** CUDA where NVIDIA's driver runs, else Vulkan where its libraries are installed, else the processor; Metal on macOS. */
function backendOfMachine(isUsable: (backend: NativeBackend) => boolean): NativeBackend {
  if (process.platform === "darwin") return "metal";
  if (existsSync("/proc/driver/nvidia/version") && isUsable("cuda")) return "cuda";
  return isUsable("vulkan") ? "vulkan" : "cpu";
}

const REMEDIES: Readonly<Partial<Record<NativeBackend, string>>> = {
  cuda: "CUDA needs NVIDIA's driver (nvidia-smi shows whether it works) and the package @node-llama-cpp/linux-x64-cuda; `fedllm-native doctor` says which of them is missing",
  vulkan: "Vulkan needs a driver of the card (vulkaninfo shows whether it works) and the package @node-llama-cpp/linux-x64-vulkan; `fedllm-native doctor` says which of them is missing",
  metal: "Metal is there on Macs only; `fedllm-native doctor` lists this machine's devices",
};

/**
 * ggml's name of the wanted device. `cpu`, `metal`, `cuda:0` and `vulkan:1` are understood beside ggml's own names (CPU, MTL0,
 * CUDA0, Vulkan1), in any case. Absent: the CPU. Throws CONFIG_INVALID naming the devices there are.
 */
export function findDevice(devices: readonly Pick<NativeDevice, "name">[], wanted: string | undefined): string {
  if (wanted === undefined) return "CPU";
  const plain = wanted.toLowerCase().replace(/^metal/u, "mtl").replace(":", "");
  // Without a number the first of its kind is meant.
  const found = devices.find(({ name }) => [plain, `${plain}0`].includes(name.toLowerCase().replace(/^metal/u, "mtl")));
  if (found !== undefined) return found.name;
  throw problemError("CONFIG_INVALID", {
    subject: "device",
    expected: `auto or one of ${devices.map((candidate) => candidate.name).join(", ")}`,
    received: JSON.stringify(wanted),
    remedy: REMEDIES[backendOfDevice(wanted, () => true)] ?? "`fedllm-native doctor` lists devices and what is missing",
  });
}

/** Devices as `auto` tries them: cards, graphics units of the processor, the processor; never a driver in software. */
export function rankDevices(devices: readonly NativeDevice[]): string[] {
  const hardware = devices.filter(({ description, name }) => !SOFTWARE_DRIVER.test(`${name} ${description}`));
  const ranked = CLASSES.flatMap((type) => hardware.filter((device) => device.type === type));
  return [...ranked.map(({ name }) => name), "CPU"];
}

/**
 * The first device in the order of rankDevices on which `fits` resolves; a rejection with OUT_OF_MEMORY goes on to the next. The
 * processor is taken without asking: a run says itself when memory is short there.
 */
export async function chooseDevice(devices: readonly NativeDevice[], fits: (device: string) => Promise<unknown>): Promise<string> {
  for (const device of rankDevices(devices)) {
    if (device === "CPU") break;
    try {
      await fits(device);
      return device;
    } catch (error) {
      if (!isFedllmError(error, "OUT_OF_MEMORY") && !isFedllmError(error, "MODEL_UNSUPPORTED")) throw error;
    }
  }
  return "CPU";
}
