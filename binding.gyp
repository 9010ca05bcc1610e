# Serves `node-gyp rebuild` in a source checkout: no compiling here, everything is handed to cmake-js.
{
  "targets": [
    {
      "target_name": "fedllm_native",
      "type": "none",
      "actions": [
        {
          "action_name": "cmake_js_build",
          "inputs": ["native/CMakeLists.txt"],
          "outputs": ["native/build/Release/fedllm_native.node"],
          "action": ["node", "scripts/build-native.cjs", "--target", "fedllm_native"]
        }
      ]
    }
  ]
}
