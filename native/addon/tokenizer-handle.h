// NativeTokenizer: wraps a tokenizer with dispose. loadTokenizer is its only maker; an instance made by `new` is empty and
// behaves as a disposed one.
#pragma once

#include <memory>

#include <napi.h>

#include "tokenizer.h"

namespace fedllm::addon {

class tokenizer_handle : public Napi::ObjectWrap<tokenizer_handle> {
  public:
    static Napi::Function define(Napi::Env env);
    static Napi::Object   wrap(Napi::Env env, std::shared_ptr<tokenizer> source);

    explicit tokenizer_handle(const Napi::CallbackInfo & info) : Napi::ObjectWrap<tokenizer_handle>(info) {}

  private:
    Napi::Value get_vocabulary_size(const Napi::CallbackInfo & info);
    Napi::Value get_bos_token(const Napi::CallbackInfo & info);
    Napi::Value get_eos_token(const Napi::CallbackInfo & info);
    Napi::Value get_add_bos(const Napi::CallbackInfo & info);
    Napi::Value get_chat_template(const Napi::CallbackInfo & info);
    Napi::Value tokenize(const Napi::CallbackInfo & info);
    Napi::Value detokenize(const Napi::CallbackInfo & info);
    Napi::Value dispose(const Napi::CallbackInfo & info);

    // The tokenizer; throws a plain Error after dispose.
    const tokenizer & require_tokenizer(Napi::Env env, const char * member) const;

    std::shared_ptr<tokenizer> tokenizer_;  // null: disposed
};

// loadTokenizer(path): Promise<NativeTokenizer>
Napi::Value load_tokenizer(const Napi::CallbackInfo & info);

}  // namespace fedllm::addon
