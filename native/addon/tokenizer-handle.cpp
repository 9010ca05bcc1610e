// See tokenizer-handle.h.
#include "tokenizer-handle.h"

#include "async-task.h"
#include "environment.h"
#include "options.h"
#include "results.h"

namespace fedllm::addon {

namespace {

Napi::Value make_optional_token(Napi::Env env, const std::optional<int32_t> & token) {
    return token.has_value() ? Napi::Number::New(env, *token).As<Napi::Value>() : env.Undefined();
}

}  // namespace

Napi::Function tokenizer_handle::define(Napi::Env env) {
    return DefineClass(env, "NativeTokenizer",
                       {InstanceAccessor<&tokenizer_handle::get_vocabulary_size>("vocabularySize"),
                        InstanceAccessor<&tokenizer_handle::get_bos_token>("bosToken"),
                        InstanceAccessor<&tokenizer_handle::get_eos_token>("eosToken"),
                        InstanceAccessor<&tokenizer_handle::get_add_bos>("addBos"),
                        InstanceAccessor<&tokenizer_handle::get_chat_template>("chatTemplate"),
                        InstanceMethod<&tokenizer_handle::tokenize>("tokenize"),
                        InstanceMethod<&tokenizer_handle::detokenize>("detokenize"),
                        InstanceMethod<&tokenizer_handle::dispose>("dispose")});
}

Napi::Object tokenizer_handle::wrap(Napi::Env env, std::shared_ptr<tokenizer> source) {
    Napi::Object object        = environment_of(env).tokenizer_class.New({});
    Unwrap(object)->tokenizer_ = std::move(source);
    return object;
}

const tokenizer & tokenizer_handle::require_tokenizer(Napi::Env env, const char * member) const {
    if (tokenizer_ == nullptr) {
        throw Napi::Error::New(
            env, std::string("NativeTokenizer.") + member + ": expected a tokenizer in use, received a disposed one");
    }
    return *tokenizer_;
}

Napi::Value tokenizer_handle::get_vocabulary_size(const Napi::CallbackInfo & info) {
    return Napi::Number::New(info.Env(), require_tokenizer(info.Env(), "vocabularySize").n_vocab());
}

Napi::Value tokenizer_handle::get_bos_token(const Napi::CallbackInfo & info) {
    return make_optional_token(info.Env(), require_tokenizer(info.Env(), "bosToken").bos_token());
}

Napi::Value tokenizer_handle::get_eos_token(const Napi::CallbackInfo & info) {
    return make_optional_token(info.Env(), require_tokenizer(info.Env(), "eosToken").eos_token());
}

Napi::Value tokenizer_handle::get_add_bos(const Napi::CallbackInfo & info) {
    return Napi::Boolean::New(info.Env(), require_tokenizer(info.Env(), "addBos").add_bos());
}

Napi::Value tokenizer_handle::get_chat_template(const Napi::CallbackInfo & info) {
    const std::optional<std::string> text = require_tokenizer(info.Env(), "chatTemplate").chat_template();
    return text.has_value() ? Napi::String::New(info.Env(), *text).As<Napi::Value>() : info.Env().Undefined();
}

Napi::Value tokenizer_handle::tokenize(const Napi::CallbackInfo & info) {
    const tokenizer & source = require_tokenizer(info.Env(), "tokenize");
    return guard_sync(info.Env(), [&] {
        const std::string text = read_text(info[0], "text");
        return make_tokens(info.Env(), source.tokenize(text, read_flag(info[1], "parseSpecial")));
    });
}

Napi::Value tokenizer_handle::detokenize(const Napi::CallbackInfo & info) {
    const tokenizer & source = require_tokenizer(info.Env(), "detokenize");
    return guard_sync(info.Env(), [&] {
        const std::vector<int32_t> tokens = read_tokens(info[0], "tokens");
        return Napi::String::New(info.Env(), source.detokenize(tokens, read_flag(info[1], "renderSpecial")));
    });
}

Napi::Value tokenizer_handle::dispose(const Napi::CallbackInfo & info) {
    tokenizer_.reset();
    return info.Env().Undefined();
}

Napi::Value load_tokenizer(const Napi::CallbackInfo & info) {
    return guard_sync(info.Env(), [&] {
        using tokenizer_task = async_task<std::shared_ptr<tokenizer>>;
        std::string path     = read_text(info[0], "path");
        return tokenizer_task::start_promise(
            info.Env(), {"fedllm:loadTokenizer",
                         [path = std::move(path)](task_control &) { return tokenizer::load(path); },
                         [](Napi::Env env, std::shared_ptr<tokenizer> && source) -> Napi::Value {
                             return tokenizer_handle::wrap(env, std::move(source));
                         },
                         Napi::Function()});
    });
}

}  // namespace fedllm::addon
